"""Where the GPU experiments run: on a GPU, or on the CPU through the same code path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from benchmarks.harness.errors import ExperimentError
from downshift.runtime.engines.device_engine import DeviceEngine
from downshift.runtime.engines.provider_options import CPU
from downshift.runtime.engines.table import ON_DEVICE, load_engine
from downshift.runtime.errors import EngineUnavailable
from downshift.runtime.gpu.driver import Device, DeviceChoice
from downshift.runtime.gpu.monitor import GpuMonitor
from downshift.runtime.json_cache import JsonCache

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOST = Device(0, "CPU", "this CPU")


def engines(cache: Path, device: str, sizes: Sequence[int]) -> list[DeviceEngine]:
    """Every GPU engine that works on that device, saying on stdout which do not; on `cpu` the device path.

    sizes: batch sizes to build. Raises `ExperimentError` when none works.
    """
    if device == "cpu":
        return [DeviceEngine(name="device-path-on-cpu", provider=CPU, device=HOST, kind="cpu", sizes=sizes)]
    found = []
    for name in sorted(ON_DEVICE):
        try:
            engine = load_engine(name, JsonCache(cache), DeviceChoice(device))
        except EngineUnavailable as reason:
            print(f"left out: {reason}", flush=True)
            continue
        if isinstance(engine, DeviceEngine):
            found.append(DeviceEngine(**{**vars(engine), "sizes": sizes}))
    if not found:
        raise ExperimentError(f"no GPU engine works on {device}: see downshift doctor, or try --device cpu")
    return found


def memory(device: Device) -> int:
    """Bytes in use on the device, by anybody; of this process on the CPU."""
    if device == HOST:
        return int(psutil.Process().memory_info().rss)
    return next((gpu.memory or 0 for gpu in GpuMonitor().read() if gpu.uuid == device.uuid), 0)
