"""What the GPUs of this machine are doing, as their driver says."""

from __future__ import annotations

from dataclasses import dataclass

import pynvml


@dataclass(frozen=True)
class Gpu:
    """One GPU now: its identity, which no renumbering changes; busy time, a ratio; bytes of memory in use."""

    uuid: str
    utilization: float
    memory: int


class GpuMonitor:
    """Reads every GPU through NVML. Without a driver, or when a GPU is lost, there is just less to read."""

    def __init__(self) -> None:
        try:
            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError:
            self._handles = []

    def read(self) -> tuple[Gpu, ...]:
        """Every GPU that answers."""
        found = []
        for handle in self._handles:
            try:
                uuid = str(pynvml.nvmlDeviceGetUUID(handle))
                busy = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100.0
                found.append(Gpu(uuid, busy, int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)))
            except pynvml.NVMLError:
                continue
        return tuple(found)
