"""Machine load: CPU and GPU utilisation, sampled off the request path."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from downshift.runtime.cpu import CpuMeter
from downshift.runtime.gpu.monitor import Gpu, GpuMonitor
from downshift.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

    from downshift.runtime.supervisor import Worker


class LoadSource(Protocol):
    """Gives the machine's part of a snapshot; reading must cost next to nothing."""

    @property
    def cpu_utilization(self) -> float:
        """The latest sample, a ratio in [0, 1]."""
        ...

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The latest sample of every GPU; empty without any."""
        ...


class MachineLoad:
    """Samples CPU and GPUs every `period` seconds on a thread of its own, so that reading it is free.

    Utilisation is an exponentially weighted moving average (EWMA) of weight 1/2. After a failed sample, for
    want of file descriptors perhaps, the average before stands until the next.
    """

    def __init__(
        self,
        period: float = 0.5,
        *,
        supervisor: Supervisor | None = None,
        cpu: Callable[[], CpuMeter] = CpuMeter,
        gpu: Callable[[], GpuMonitor] = GpuMonitor,
    ) -> None:
        """supervisor: runs the thread. cpu, gpu: make what is read; called on that thread."""
        self.cpu_utilization = 0.0
        self.gpus: tuple[Gpu, ...] = ()
        self._period = period
        self._supervisor = supervisor or Supervisor()
        self._make_cpu, self._make_gpu = cpu, gpu
        self._cpu: CpuMeter | None = None
        self._gpu: GpuMonitor | None = None
        self._worker: Worker | None = None

    def start(self) -> None:
        """Begin to sample."""
        self._worker = self._supervisor.start("load", self.sample, period=self._period)

    def close(self) -> None:
        """Stop sampling; returns when the thread has ended."""
        if self._worker is not None:
            self._worker.close()

    def sample(self) -> None:
        """Read once; the first time only sets the reference point of the CPU."""
        if self._cpu is None:
            self._cpu = self._make_cpu()
        else:
            self.cpu_utilization = (self.cpu_utilization + self._cpu.utilization()) / 2.0
        if self._gpu is None:
            self._gpu = self._make_gpu()
        before = {gpu.uuid: gpu.utilization for gpu in self.gpus}
        self.gpus = tuple(
            replace(gpu, utilization=_average(before.get(gpu.uuid), gpu.utilization))
            for gpu in self._gpu.read()
        )


def _average(before: float | None, now: float | None) -> float | None:
    """The EWMA after one more sample; None where there is none."""
    return now if before is None or now is None else (before + now) / 2.0
