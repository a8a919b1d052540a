from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

import pytest

from downshift.runtime.cpu import CpuMeter
from downshift.runtime.gpu.monitor import Gpu, GpuMonitor
from downshift.runtime.scheduling.load import MachineLoad
from downshift.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator


class Script(CpuMeter):
    """Utilisation as a script has it: ratios, and errors that are raised."""

    def __init__(self, *script: float | Exception) -> None:
        self.samplers: set[int] = set()
        self.over = threading.Event()
        self._script: Iterator[float | Exception] = iter(script)

    def utilization(self) -> float:
        self.samplers.add(threading.get_ident())
        reading = next(self._script, None)
        if reading is None:
            self.over.set()
            return 1.0
        if isinstance(reading, Exception):
            raise reading
        return reading


class OneGpu(GpuMonitor):
    def __init__(self, *utilizations: float) -> None:
        self._utilizations = iter(utilizations)

    def read(self) -> tuple[Gpu, ...]:
        return (Gpu(uuid="GPU-1", utilization=next(self._utilizations), memory=7),)


def test_samples_are_smoothed_ratios() -> None:
    load = MachineLoad(cpu=lambda: Script(1.0, 0.0), gpu=lambda: OneGpu(0.5, 1.0, 1.0))
    assert (load.cpu_utilization, load.gpus) == (0.0, ())
    load.sample()
    assert load.cpu_utilization == 0.0, "one reading is no difference yet"
    assert load.gpus[0].utilization == 0.5
    load.sample()
    assert load.cpu_utilization == 0.5
    assert load.gpus[0].utilization == 0.75
    load.sample()
    assert load.cpu_utilization == 0.25


def test_samples_are_taken_on_another_thread() -> None:
    script = Script(*[1.0] * 40)
    load = MachineLoad(0.001, cpu=lambda: script)
    load.start()
    assert script.over.wait(60)
    load.close()
    assert load.cpu_utilization == pytest.approx(1.0), "smoothed, but 40 samples are enough"
    assert script.samplers.isdisjoint({threading.get_ident()})


def test_sampling_goes_on_once_there_are_file_descriptors_again() -> None:
    supervisor = Supervisor(retry=0.001)
    script = Script(OSError(errno.EMFILE, "Too many open files"), *[1.0] * 40)
    load = MachineLoad(0.001, supervisor=supervisor, cpu=lambda: script)
    load.start()
    assert script.over.wait(60)
    assert [(each.name, each.errors, each.alive) for each in supervisor.health] == [("load", 1, True)]
    load.close()
    assert load.cpu_utilization == pytest.approx(1.0)


def test_what_was_never_started_can_be_closed() -> None:
    MachineLoad().close()
