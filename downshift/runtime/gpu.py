"""The one reader of NVML, NVIDIA's management library: which GPUs there are, and what they are doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pynvml


@dataclass(frozen=True)
class Gpu:
    """One sample of a GPU. uuid: stable when devices are renumbered. utilization: a ratio. memory: bytes."""

    uuid: str
    utilization: float
    memory: int


class GpuMonitor:
    """Reads every GPU. Without a driver, or when a GPU is lost, there is just less to read.

    missing: why there is no GPU, None where NVML works.
    """

    def __init__(self) -> None:
        self.missing: str | None = None
        self._handles: list[Any] = []
        try:
            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            self.missing = str(error)

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the GPUs' models, in driver order; a GPU that is lost has none."""
        return tuple(name for handle in self._handles if (name := _model(handle)) is not None)

    def read(self) -> tuple[Gpu, ...]:
        """A sample of every GPU that answers; one that is lost is left out."""
        found = []
        for handle in self._handles:
            try:
                uuid = str(pynvml.nvmlDeviceGetUUID(handle))
                busy = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100.0
                found.append(Gpu(uuid, busy, int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)))
            except pynvml.NVMLError:
                continue
        return tuple(found)


def _model(handle: Any) -> str | None:
    try:
        return str(pynvml.nvmlDeviceGetName(handle))
    except pynvml.NVMLError:
        return None
