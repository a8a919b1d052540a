"""Errors of the `runtime` package.

    RuntimeFault
    ├── InvalidRequest          inputs of the wrong shape or type, NaN, contradictory options
    │   └── InputOverflow       inputs so large that the network's arithmetic overflows
    ├── Rejected                a well-formed request that is not executed
    │   ├── DeadlineImpossible  no admissible sub-net is fast enough for the budget, even on an idle machine
    │   ├── DeadlineExpired     accepted, but its time ran out in the queue
    │   ├── AccuracyUnavailable no sub-net reaches the accuracy floor
    │   ├── Draining            the deployment is closing
    │   │   └── Abandoned       accepted, but the time to drain ran out before its turn
    │   └── Shed                try again after `retry_after` seconds
    │       ├── QueueFull       as many requests wait as may wait
    │       └── Overloaded      the work already queued leaves no time within the budget
    ├── ExecutionFailed         accepted and executed, without an answer
    │   ├── EngineFailed        the engine raised
    │   ├── DeviceFault         the device that computes failed
    │   │   └── OutOfDeviceMemory   its memory does not hold this batch
    │   └── NonFiniteOutput     the network answered NaN or infinity for this request
    ├── Missing                 something that this machine lacks
    │   ├── DeviceUnavailable   a GPU, its driver or a library of CUDA
    │   ├── EngineUnavailable   a library or device that an engine needs
    │   └── TooFewCores         for so many executors
    ├── UnsupportedModel        the engine cannot run this sub-net; names the operator
    ├── CalibrationError        a sub-net that cannot be quantised on the images given
    ├── SelfCheckFailed         a prepared artifact does not answer what it should
    ├── ProfileError            a profile that cannot be read or does not belong to this artifact and machine
    └── TraceError              a trace of arrivals that cannot be read or makes no sense

A request that its client cancels ends as `concurrent.futures.CancelledError`, raised by its future.
"""

from __future__ import annotations

from downshift.errors import DownshiftError


class RuntimeFault(DownshiftError):  # noqa: N818 - RuntimeError is Python's own
    """Base of every error this package raises; the text names the value and the remedy."""


class InvalidRequest(RuntimeFault):
    """A request that no sub-net of this deployment could ever answer."""


class InputOverflow(InvalidRequest):
    """Executed, with logits that are not finite, by a program that answers the self-check's inputs well."""

    def __init__(self, example: int, subnet: str) -> None:
        super().__init__(
            f"example {example}: its inputs make sub-net {subnet} overflow to NaN or infinity; send inputs "
            "in the range of the training data"
        )


class Rejected(RuntimeFault):
    """A well-formed request that is not executed."""


class DeadlineImpossible(Rejected):
    """The budget is below the p99 of the fastest admissible sub-net; nothing was executed."""

    def __init__(self, budget: float, needed: float) -> None:
        self.budget, self.needed = budget, needed
        super().__init__(
            f"{max(0.0, budget) * 1e3:.3g} ms are left of the latency budget, but the fastest admissible "
            f"sub-net needs {needed * 1e3:.3g} ms on this machine; grant more"
        )


class DeadlineExpired(Rejected):
    """The deadline passed, or came too close for the fastest sub-net, while the request was queued."""

    def __init__(self, waited: float) -> None:
        self.waited = waited
        super().__init__(
            f"deadline expired after {waited * 1e3:.3g} ms in the queue; nothing was executed: "
            "grant a larger latency budget or send fewer requests"
        )


class AccuracyUnavailable(Rejected):
    """No admissible sub-net is known to be that accurate."""

    def __init__(self, floor: float, best: float | None) -> None:
        self.floor, self.best = floor, best
        has = "has no measured accuracy" if best is None else f"offers at most {best:.4g}"
        super().__init__(f"accuracy floor {floor:.4g}: this artifact {has}; lower the floor or leave it out")


class Draining(Rejected):
    """The deployment is closing and takes no more work."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down and takes no new requests; send this one to another")


class Abandoned(Draining):
    """Accepted, and still queued when the time to drain ran out."""


class Shed(Rejected):
    """Load shedding: refused because of the load now; it may fit `retry_after` seconds later."""

    def __init__(self, message: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class QueueFull(Shed):
    """As many requests wait as may wait."""

    def __init__(self, capacity: int, retry_after: float) -> None:
        super().__init__(
            f"the queue holds its limit of {capacity} requests; retry in {retry_after:.3g} s", retry_after
        )


class Overloaded(Shed):
    """The work that must run first leaves too little of the budget, even at the fastest sub-net."""

    def __init__(self, budget: float, wait: float) -> None:
        super().__init__(
            f"{budget * 1e3:.3g} ms are left of the latency budget, but work already queued takes at least "
            f"{wait * 1e3:.3g} ms of it; retry later or grant more",
            wait,
        )


class ExecutionFailed(RuntimeFault):
    """The request was executed and there is no answer."""


class EngineFailed(ExecutionFailed):
    """The engine raised while running this request; the cause is chained, not shown to clients."""

    def __init__(self, engine: str, subnet: str) -> None:
        self.engine, self.subnet = engine, subnet
        super().__init__(f"engine {engine} failed while running sub-net {subnet}; see the server's log")


class DeviceFault(ExecutionFailed):
    """The device failed: a CUDA error, a lost GPU. Raised by programs, the cause of an `EngineFailed`."""

    def __init__(self, engine: str, device: str, reason: str) -> None:
        super().__init__(f"engine {engine} failed on {device}: {reason}")


class OutOfDeviceMemory(DeviceFault):
    """The device's memory, or the limit set for it, does not hold this batch; a smaller one may fit."""


class NonFiniteOutput(ExecutionFailed):
    """The network's answer holds NaN or infinity, and so does its answer to the self-check's inputs."""

    def __init__(self, example: int, subnet: str) -> None:
        super().__init__(
            f"example {example}: sub-net {subnet} answered NaN or infinity, as it does to any input; load "
            "the model again"
        )


class Missing(RuntimeFault):
    """Something that this machine lacks. missing: the one thing. remedy: what to do about it."""

    def __init__(self, missing: str, remedy: str, whose: str = "") -> None:
        self.missing, self.remedy = missing, remedy
        super().__init__(f"{whose}{missing}; {remedy}")


class DeviceUnavailable(Missing):
    """A GPU, its driver or a library of CUDA is not on this machine."""


class EngineUnavailable(Missing):
    """A library or device that the engine needs is not on this machine."""

    def __init__(self, engine: str, missing: str, remedy: str) -> None:
        super().__init__(missing, remedy, f"engine {engine}: ")


class TooFewCores(Missing):
    """More executors were asked for than this process may use cores."""

    def __init__(self, executors: int, cores: int) -> None:
        super().__init__(f"{executors} executors need as many cores, {cores} may be used", f"ask for {cores}")


class UnsupportedModel(RuntimeFault):
    """An engine cannot run a sub-net; the text names the operator that stops it."""


class CalibrationError(RuntimeFault):
    """A calibration that cannot be done, or a sub-net without int8; names the value and the remedy."""


class SelfCheckFailed(RuntimeFault):
    """A prepared artifact does not answer what it should; it must not be served."""


class ProfileError(RuntimeFault):
    """A profile that cannot be read, or that was measured on another machine or artifact."""


class TraceError(RuntimeFault):
    """A trace of arrivals that cannot be read, or whose times make no sense."""
