"""Counters of one model, with the semantics of Triton's statistics extension.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from downshift.runtime.request import Outcome
from downshift.runtime.scheduling.observer import NullObserver
from downshift.server.errors import row_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from downshift.runtime.request import Request
    from downshift.runtime.scheduling.lifecycle import Batch, Settled


class FailureReason(StrEnum):
    """Why a request failed, in Triton's words."""

    REJECTED = "REJECTED"  # shed by admission control, or expired
    CANCELED = "CANCELED"
    BACKEND = "BACKEND"  # the engine failed
    OTHER = "OTHER"  # an invalid request


REASONS: Mapping[Outcome, FailureReason] = {
    Outcome.EXPIRED: FailureReason.REJECTED,
    Outcome.SHED: FailureReason.REJECTED,
    Outcome.CANCELLED: FailureReason.CANCELED,
    Outcome.FAILED: FailureReason.BACKEND,
    Outcome.INVALID: FailureReason.OTHER,
}
"""Triton's reason for every outcome but an answer."""


@dataclass(frozen=True, slots=True)
class Duration:
    """A count of events, and their total duration in seconds."""

    count: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A consistent copy of all counters.

    success: answered requests, late ones included; queue and compute time, plus decoding and encoding once
    they are measured. failures: by reason, with queue and compute time. inferences: examples answered.
    executions: completed batches by batch size. last_inference: Unix seconds of the last answer, 0 without.
    """

    success: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    failures: Mapping[FailureReason, Duration]
    executions: Mapping[int, Duration]
    inferences: int = 0
    last_inference: float = 0.0


class _Sum:
    """A mutable `Duration`."""

    __slots__ = ("count", "seconds")

    def __init__(self) -> None:
        self.count, self.seconds = 0, 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds

    @property
    def total(self) -> Duration:
        return Duration(self.count, self.seconds)


class Statistics(NullObserver):
    """Counters of one model, fed by the scheduler's events as an observer, and by method. Thread-safe."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """now: Unix seconds."""
        self._now = now
        self._lock = threading.Lock()
        self._success, self._queue = _Sum(), _Sum()
        self._input, self._infer, self._output = _Sum(), _Sum(), _Sum()
        self._failures = {reason: _Sum() for reason in FailureReason}
        self._executions: dict[int, _Sum] = {}
        self._inferences = 0
        self._last_inference = 0.0

    @property
    def snapshot(self) -> Snapshot:
        """A consistent copy of all counters."""
        with self._lock:
            return Snapshot(
                self._success.total,
                self._queue.total,
                self._input.total,
                self._infer.total,
                self._output.total,
                {reason: failed.total for reason, failed in self._failures.items()},
                {size: executed.total for size, executed in sorted(self._executions.items())},
                self._inferences,
                self._last_inference,
            )

    def rejected(self, request: Request, error: Exception) -> None:  # noqa: ARG002  the protocol's
        """Count a request that admission control refused."""
        self.refused(row_of(error).outcome)

    def refused(self, outcome: Outcome) -> None:
        """Count a request that ended before the scheduler accepted it."""
        self._fail(outcome)

    def finished(self, batch: Batch, seconds: float, error: Exception | None) -> None:
        """Count a batch that was executed."""
        if error is None:
            with self._lock:
                self._executions.setdefault(batch.examples, _Sum()).add(seconds)

    def settled(self, event: Settled) -> None:
        """Count the one outcome of an accepted request."""
        taken = event.queue_seconds + event.compute_seconds
        if event.answer is None:
            self._fail(event.outcome, taken)
        else:
            with self._lock:
                self._success.add(taken)
                self._queue.add(event.queue_seconds)
                self._infer.add(event.compute_seconds)
                self._input.count += 1  # perf_analyzer fails if the three counts ever differ
                self._output.count += 1
                self._inferences += event.ticket.examples
                self._last_inference = self._now()

    def coded(self, input_seconds: float, output_seconds: float) -> None:
        """Add the time to decode a request that `settled` counted, and to encode its response."""
        with self._lock:
            self._success.seconds += input_seconds + output_seconds
            self._input.seconds += input_seconds
            self._output.seconds += output_seconds

    def _fail(self, outcome: Outcome, seconds: float = 0.0) -> None:
        with self._lock:
            self._failures[REASONS[outcome]].add(seconds)


def model_stats(name: str, version: str, counted: Snapshot) -> dict[str, Any]:
    """One entry of the extension's `model_stats`; cache counters are 0, as there is no response cache."""
    failed = counted.failures.values()
    fail = Duration(sum(each.count for each in failed), sum(each.seconds for each in failed))
    return {
        "name": name,
        "version": version,
        "last_inference": round(counted.last_inference * 1e3),
        "inference_count": counted.inferences,
        "execution_count": sum(executed.count for executed in counted.executions.values()),
        "inference_stats": {
            "success": _nanoseconds(counted.success),
            "fail": _nanoseconds(fail),
            "queue": _nanoseconds(counted.queue),
            "compute_input": _nanoseconds(counted.compute_input),
            "compute_infer": _nanoseconds(counted.compute_infer),
            "compute_output": _nanoseconds(counted.compute_output),
            "cache_hit": _nanoseconds(Duration()),
            "cache_miss": _nanoseconds(Duration()),
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": _nanoseconds(Duration(executed.count)),
                "compute_infer": _nanoseconds(executed),
                "compute_output": _nanoseconds(Duration(executed.count)),
            }
            for size, executed in counted.executions.items()
        ],
    }


def _nanoseconds(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": round(duration.seconds * 1e9)}
