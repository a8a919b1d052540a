"""The one reader of NVML, NVIDIA's management library: which GPUs there are, and what they are doing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pynvml

if TYPE_CHECKING:
    from collections.abc import Iterator

THROTTLE: dict[int, str] = {
    pynvml.nvmlClocksEventReasonSwPowerCap: "power-cap",
    pynvml.nvmlClocksEventReasonHwSlowdown: "hardware-slowdown",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "software-thermal",
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "hardware-thermal",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "power-brake",
}
"""NVML's bit -> why the clocks are lower than they could be; idle and chosen clocks are no throttling."""


@dataclass(frozen=True)
class Gpu:
    """One sample of a GPU or MIG instance.

    uuid: stable when devices are renumbered. utilization: share of time in which any kernel ran, of whatever
    process; None where the driver does not measure it, as for MIG. memory, memory_total: bytes; None where
    it is not known. throttled: values of `THROTTLE`. lost: NVML does not answer for it any more.
    busy: share of time in which we computed on it, a ratio; filled in by who knows.
    """

    uuid: str
    utilization: float | None = None
    memory: int | None = None
    memory_total: int | None = None
    throttled: tuple[str, ...] = ()
    lost: bool = False
    busy: float = 0.0

    @property
    def pressure(self) -> float:
        """How busy it is: our own busy time, or NVML's utilisation where others make that larger."""
        return max(self.busy, self.utilization or 0.0)


@dataclass(frozen=True)
class _Handle:
    """whole: the GPU of which this is a part, or itself."""

    uuid: str
    own: Any
    whole: Any


class GpuMonitor:
    """Reads every GPU and MIG instance. Without a driver there is just nothing to read.

    missing: why there is no GPU, None where NVML works.
    """

    def __init__(self) -> None:
        self.missing: str | None = None
        self._handles: tuple[_Handle, ...] = ()
        try:
            pynvml.nvmlInit()
            self._handles = tuple(_handles())
        except pynvml.NVMLError as error:
            self.missing = str(error)

    @property
    def uuids(self) -> tuple[str, ...]:
        """Of every GPU, each followed by its MIG instances."""
        return tuple(handle.uuid for handle in self._handles)

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the GPUs' models, in driver order; a GPU that is lost has none."""
        wholes = [handle.own for handle in self._handles if handle.own is handle.whole]
        return tuple(name for whole in wholes if (name := _model(whole)) is not None)

    def read(self) -> tuple[Gpu, ...]:
        """A sample of each; one that does not answer any more is lost."""
        return tuple(map(_sample, self._handles))


def _handles() -> Iterator[_Handle]:
    for index in range(pynvml.nvmlDeviceGetCount()):
        with suppress(pynvml.NVMLError):
            whole = pynvml.nvmlDeviceGetHandleByIndex(index)
            yield _Handle(str(pynvml.nvmlDeviceGetUUID(whole)), whole, whole)
            yield from _instances(whole)


def _instances(whole: Any) -> Iterator[_Handle]:
    """The MIG instances of a GPU; none where it is not partitioned, or cannot be."""
    with suppress(pynvml.NVMLError):
        enabled, _ = pynvml.nvmlDeviceGetMigMode(whole)
        most = pynvml.nvmlDeviceGetMaxMigDeviceCount(whole) if enabled else 0
        for index in range(most):
            with suppress(pynvml.NVMLError):  # a slot without an instance
                own = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(whole, index)
                yield _Handle(str(pynvml.nvmlDeviceGetUUID(own)), own, whole)


def _sample(handle: _Handle) -> Gpu:
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle.own)
    except pynvml.NVMLError:
        return Gpu(handle.uuid, lost=True)
    utilization, reasons = None, 0
    with suppress(pynvml.NVMLError):
        utilization = pynvml.nvmlDeviceGetUtilizationRates(handle.own).gpu / 100.0
    with suppress(pynvml.NVMLError):
        reasons = pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle.whole)
    throttled = tuple(name for bit, name in THROTTLE.items() if reasons & bit)
    return Gpu(handle.uuid, utilization, int(memory.used), int(memory.total), throttled)


def _model(handle: Any) -> str | None:
    try:
        return str(pynvml.nvmlDeviceGetName(handle))
    except pynvml.NVMLError:
        return None
