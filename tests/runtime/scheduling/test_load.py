from __future__ import annotations

import errno
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from downshift.runtime.cpu import CpuMeter
from downshift.runtime.gpu.busy import BusyMeter
from downshift.runtime.gpu.driver import Device
from downshift.runtime.gpu.monitor import Gpu, GpuMonitor
from downshift.runtime.scheduling.load import MachineLoad
from downshift.runtime.supervisor import Supervisor
from tests.runtime.doubles import FakeClock

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


class TwoGpus(GpuMonitor):
    """One that is served on, with that utilisation, and a foreign one."""

    def __init__(self, *samples: float | None, lost_after: int = 99) -> None:
        self.missing = None
        self._samples = iter(samples)
        self._left = lost_after

    def read(self) -> tuple[Gpu, ...]:
        self._left -= 1
        ours = Gpu("GPU-1", next(self._samples), 7, lost=self._left < 0)
        return (Gpu("GPU-0", 1.0, 5), ours)


@dataclass
class Program:
    """Computes on GPU-1."""

    busy: BusyMeter
    device: Device = field(default_factory=lambda: Device(0, "GPU-1", "a GPU"))


def test_samples_are_smoothed_ratios() -> None:
    load = MachineLoad(cpu=lambda: Script(1.0, 0.0), gpu=lambda: TwoGpus(0.5, 1.0, 1.0))
    load.serve_on([Program(BusyMeter())])
    assert (load.cpu_utilization, load.gpus) == (0.0, ())
    load.sample()
    assert load.cpu_utilization == 0.0, "one reading is no difference yet"
    assert [gpu.utilization for gpu in load.gpus] == [0.5]
    load.sample()
    assert load.cpu_utilization == 0.5
    assert load.gpus[0].utilization == 0.75
    load.sample()
    assert load.cpu_utilization == 0.25


def test_only_gpus_that_are_served_on_are_read_and_without_any_no_driver_is_asked() -> None:
    def driver() -> GpuMonitor:
        raise AssertionError("nobody asked for a GPU")

    load = MachineLoad(cpu=lambda: Script(1.0, 1.0, 1.0, 1.0), gpu=driver)
    load.sample()
    assert load.gpus == ()
    load = MachineLoad(cpu=lambda: Script(1.0, 1.0, 1.0, 1.0), gpu=lambda: TwoGpus(0.0, 0.0))
    load.serve_on([Program(BusyMeter())])
    load.sample()
    assert [(gpu.uuid, gpu.memory, gpu.pressure) for gpu in load.gpus] == [("GPU-1", 7, 0.0)]
    load.serve_on([])
    load.sample()
    assert load.gpus == ()


def test_our_own_busy_time_is_a_smoothed_share_of_the_time_between_samples() -> None:
    clock = FakeClock()
    meters = [BusyMeter(clock.now), BusyMeter(clock.now)]
    load = MachineLoad(cpu=lambda: Script(*[1.0] * 9), gpu=lambda: TwoGpus(*[None] * 9), now=clock.now)
    load.serve_on(map(Program, meters))
    load.sample()
    for meter in meters:  # two engines on one device
        with meter:
            clock.advance(0.25)
    clock.advance(0.5)
    load.sample()
    assert load.gpus[0].busy == 0.25, "half of the time, halved again by the average"
    assert load.gpus[0].pressure == 0.25, "NVML measures nothing here"
    clock.advance(1.0)
    load.sample()
    assert load.gpus[0].busy == 0.125


def test_pressure_is_ours_or_that_of_others_whichever_is_more() -> None:
    assert Gpu("GPU-1", 0.5, 0, busy=0.75).pressure == 0.75
    assert Gpu("GPU-1", 0.5, 0, busy=0.25).pressure == 0.5
    assert Gpu("GPU-1", None, 0, busy=0.25).pressure == 0.25


@pytest.mark.parametrize(("missing", "lost"), [(None, True), ("no driver", False)])
def test_a_gpu_that_was_lost_before_the_first_sample_is_lost_unless_there_is_no_nvml(
    missing: str | None, lost: bool
) -> None:
    monitor = TwoGpus()
    monitor.missing, monitor.read = missing, tuple  # type: ignore[method-assign, assignment]
    load = MachineLoad(cpu=lambda: Script(1.0), gpu=lambda: monitor)
    load.serve_on([Program(BusyMeter())])
    load.sample()
    (gpu,) = load.gpus
    assert (gpu.uuid, gpu.lost) == ("GPU-1", lost)


def test_a_gpu_that_is_lost_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    load = MachineLoad(cpu=lambda: Script(*[1.0] * 9), gpu=lambda: TwoGpus(*[0.0] * 9, lost_after=1))
    load.serve_on([Program(BusyMeter())])
    for _ in range(4):
        load.sample()
    assert load.gpus[0].lost
    assert [record.message.partition(":")[0] for record in caplog.records] == ["GPU GPU-1 is lost"]


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
