"""CPU utilisation: how much of the CPU time that this server may use is used."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from downshift.runtime.cgroup import own_cgroups
from downshift.runtime.machine import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class CpuReading:
    """Counters at one moment, all in CPU seconds but `at`, which is monotonic seconds.

    own: used by us, None where that cannot be told. busy, total: of the host's cores; what processes of
    low priority (nice) use is not busy, as they give way.
    """

    at: float
    own: float | None
    busy: float
    total: float


class CpuMeter:
    """Reads utilisation between two moments: of our own cgroup; only without one, of the host.

    Others' load is no signal: it says nothing about whether our requests wait. Neither is that of the other
    processes of the same server, where each has cores of its own: there `own` reads this process alone.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        host: Callable[[], Any] = psutil.cpu_times,
        own: Callable[[], float | None] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """root: below which /proc and /sys are looked for. host: CPU seconds by kind, as psutil has them.

        own: CPU seconds that we have used; by default our cgroup's.
        """
        self._root, self._host, self._now = root, host, now
        self._own = own or (lambda: own_cgroups(root).usage())
        self._before = self.reading()

    def reading(self) -> CpuReading:
        """The counters now; raises OSError when they cannot be read."""
        times = self._host()._asdict()
        busy = sum(times.get(kind, 0.0) for kind in ("user", "system", "irq", "softirq", "interrupt", "dpc"))
        idle = sum(times.get(kind, 0.0) for kind in ("nice", "idle", "iowait", "steal"))
        return CpuReading(at=self._now(), own=self._own(), busy=busy, total=busy + idle)

    def utilization(self) -> float:
        """Since the last call, or since it was made: a ratio in [0, 1]."""
        before, self._before = self._before, self.reading()
        return utilization(before, self._before, available_cores(self._root))


def utilization(before: CpuReading, after: CpuReading, cores: float) -> float:
    """Share of `cores` that we used between two readings; where that is not known, the host's busy share.

    A ratio in [0, 1].
    """
    if before.own is not None and after.own is not None:
        used, possible = after.own - before.own, cores * (after.at - before.at)
    else:
        used, possible = after.busy - before.busy, after.total - before.total
    return min(1.0, max(0.0, used / possible)) if possible > 0.0 else 0.0
