"""Machine load: CPU and GPU utilisation, sampled off the request path."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from downshift.runtime.cpu import CpuMeter
from downshift.runtime.gpu.monitor import Gpu, GpuMonitor
from downshift.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from downshift.runtime.engines.engine import OnDevice
    from downshift.runtime.gpu.busy import BusyMeter
    from downshift.runtime.supervisor import Worker


log = logging.getLogger(__name__)


class LoadSource(Protocol):
    """Gives the machine's part of a snapshot; reading must cost next to nothing."""

    @property
    def cpu_utilization(self) -> float:
        """The latest sample, a ratio in [0, 1]."""
        ...

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The latest sample of every GPU that is served on; empty without any."""
        ...


class MachineLoad:
    """Samples the CPU and the GPUs that we serve on every `period` seconds, on a thread of its own.

    Every ratio is an exponentially weighted moving average (EWMA) of weight 1/2. After a failed sample, for
    want of file descriptors perhaps, the average before stands until the next.
    """

    def __init__(
        self,
        period: float = 0.25,
        *,
        supervisor: Supervisor | None = None,
        cpu: Callable[[], CpuMeter] = CpuMeter,
        gpu: Callable[[], GpuMonitor] = GpuMonitor,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """supervisor: runs the thread. cpu, gpu: make what is read; called on that thread."""
        self.cpu_utilization = 0.0
        self.gpus: tuple[Gpu, ...] = ()
        self._period = period
        self._supervisor = supervisor or Supervisor()
        self._make_cpu, self._make_gpu, self._now = cpu, gpu, now
        self._cpu: CpuMeter | None = None
        self._gpu: GpuMonitor | None = None
        self._worker: Worker | None = None
        self._meters: Mapping[str, frozenset[BusyMeter]] = {}
        self._busy: dict[BusyMeter, float] = {}
        self._at = 0.0

    def serve_on(self, programs: Iterable[OnDevice]) -> None:
        """From now on the GPUs of these programs count, by UUID, and no others."""
        meters: dict[str, set[BusyMeter]] = {}
        for program in programs:
            meters.setdefault(program.device.uuid, set()).add(program.busy)
        self._meters = {uuid: frozenset(several) for uuid, several in meters.items()}

    def start(self) -> None:
        """Begin to sample."""
        self._worker = self._supervisor.start("load", self.sample, period=self._period)

    def close(self) -> None:
        """Stop sampling; returns when the thread has ended."""
        if self._worker is not None:
            self._worker.close()

    def sample(self) -> None:
        """Read once; the first time only sets the reference point of the CPU and of our busy time."""
        if self._cpu is None:
            self._cpu = self._make_cpu()
        else:
            self.cpu_utilization = (self.cpu_utilization + self._cpu.utilization()) / 2.0
        self._sample_gpus(self._meters)

    def _sample_gpus(self, meters: Mapping[str, frozenset[BusyMeter]]) -> None:
        """Our own busy time, and what NVML tells of these devices.

        One that it does not list, though we compute on it, is lost; without NVML nothing is known of any.
        """
        now = self._now()
        seconds = {meter: meter.seconds for several in meters.values() for meter in several}
        elapsed, before = now - self._at, {gpu.uuid: gpu for gpu in self.gpus}
        told: dict[str, Gpu] = {}
        listed = False
        if meters:
            self._gpu = self._gpu or self._make_gpu()
            told, listed = {gpu.uuid: gpu for gpu in self._gpu.read()}, self._gpu.missing is None
        gpus = []
        for uuid, several in meters.items():
            spent = sum(seconds[meter] - self._busy.get(meter, seconds[meter]) for meter in several)
            gpu, earlier = told.get(uuid, Gpu(uuid, lost=listed)), before.get(uuid)
            busy = min(1.0, spent / elapsed) if elapsed > 0.0 else 0.0
            if gpu.lost and not (earlier and earlier.lost):
                log.error("GPU %s is lost: look for Xid errors in the kernel log", uuid)
            if earlier is not None:
                utilization = _average(earlier.utilization, gpu.utilization)
                gpu, busy = replace(gpu, utilization=utilization), (earlier.busy + busy) / 2.0
            gpus.append(replace(gpu, busy=busy))
        self.gpus, self._busy, self._at = tuple(gpus), seconds, now


def _average(before: float | None, now: float | None) -> float | None:
    """The EWMA after one more sample; None where there is none."""
    return now if before is None or now is None else (before + now) / 2.0
