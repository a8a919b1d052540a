from __future__ import annotations

from typing import TYPE_CHECKING

import pynvml

from downshift.runtime.gpu.monitor import Gpu, GpuMonitor

if TYPE_CHECKING:
    import pytest


class Driver:
    """Stands in for NVML: two GPUs, of which the second has fallen off the bus."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("Init", "DeviceGetCount", "DeviceGetHandleByIndex", "DeviceGetUUID", "DeviceGetName"):
            patch.setattr(pynvml, f"nvml{name}", getattr(self, name))
        patch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", self.rates)
        patch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", self.memory)

    def Init(self) -> None: ...  # noqa: N802

    def DeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def DeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def DeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        if handle == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return "GPU-0"

    def DeviceGetName(self, handle: int) -> str:  # noqa: N802
        if handle == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return "A GPU"

    def rates(self, handle: int) -> object:
        return type("Rates", (), {"gpu": 25})()

    def memory(self, handle: int) -> object:
        return type("Memory", (), {"used": 4096, "total": 8192})()


def test_every_gpu_that_answers_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(monkeypatch)
    monitor = GpuMonitor()
    assert monitor.missing is None
    assert monitor.models == ("A GPU",)
    assert monitor.read() == (Gpu("GPU-0", 0.25, 4096, 8192),)


def test_without_a_driver_there_is_nothing_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    monitor = GpuMonitor()
    assert monitor.read() == monitor.models == ()
    assert "Not Found" in str(monitor.missing)
