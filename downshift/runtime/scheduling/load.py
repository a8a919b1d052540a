"""How busy this machine is: the snapshot policies read, and where it comes from."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Protocol

import psutil

from downshift.runtime.gpu import Gpu, GpuMonitor


@dataclass(frozen=True, slots=True)
class LoadSnapshot:
    """Load at one moment.

    queued, in_flight: requests waiting and executing now.
    cpu_utilization: share of all cores that was busy during the last sampling period, a ratio in [0, 1].
    arrival_rate: examples per second that arrive, refused ones included, averaged over about a second.
    burstiness: squared coefficient of variation of the gaps between arrivals; 1 is a Poisson process.
    gpu_utilization: of the busiest GPU, a ratio; 0 without any.
    level: how many sub-nets below the most accurate one requests without a budget get.
    """

    queued: int = 0
    in_flight: int = 0
    cpu_utilization: float = 0.0
    arrival_rate: float = 0.0
    burstiness: float = 1.0
    gpu_utilization: float = 0.0
    level: int = 0


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
    """Samples CPU and GPUs every `period` seconds on its own thread, so that reading it is free.

    Utilisation is smoothed: half the latest sample, half what was before.
    """

    def __init__(self, period: float = 0.5) -> None:
        self.cpu_utilization = 0.0
        self.gpus: tuple[Gpu, ...] = ()
        self._period = period
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="downshift-load", daemon=True)

    def start(self) -> None:
        """Begin sampling."""
        self._thread.start()

    def close(self) -> None:
        """Stop sampling; returns when the thread has ended."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _sample(self) -> None:
        psutil.cpu_percent()  # the first call only sets the reference point
        monitor = GpuMonitor()
        while not self._stop.wait(self._period):
            self.cpu_utilization = (self.cpu_utilization + min(1.0, psutil.cpu_percent() / 100.0)) / 2.0
            before = {gpu.uuid: gpu.utilization for gpu in self.gpus}
            self.gpus = tuple(
                replace(gpu, utilization=(gpu.utilization + before.get(gpu.uuid, gpu.utilization)) / 2.0)
                for gpu in monitor.read()
            )
