"""A trace: the arrival times of a workload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.errors import TraceError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Trace:
    """Arrival times, seconds from the start of the trace, float64 [n], n >= 1, ascending from 0 or later.

    name: shown to people. seconds: duration, at least until the last arrival.

    Raises `TraceError` for other times, naming the first bad arrival, counted from 1.
    """

    name: str
    times: NDArray[np.float64]
    seconds: float

    def __post_init__(self) -> None:
        times = self.times
        if not len(times):
            raise TraceError(f"{self.name}: no arrivals in it; give a trace with at least one")
        if len(bad := np.flatnonzero(~np.isfinite(times))):
            raise TraceError(f"{self.name}: arrival {bad[0] + 1} is at {times[bad[0]]}; give finite seconds")
        if len(bad := np.flatnonzero(times < 0.0)):
            raise TraceError(
                f"{self.name}: arrival {bad[0] + 1} is at {times[bad[0]]:g} s; times start at 0 or later"
            )
        if len(bad := np.flatnonzero(np.diff(times) < 0.0)):
            at = bad[0] + 1
            raise TraceError(
                f"{self.name}: arrival {at + 1} at {times[at]:g} s is before the one ahead of it at "
                f"{times[at - 1]:g} s; sort the trace by time"
            )

    @property
    def rate(self) -> float:
        """Mean arrivals per second."""
        return len(self.times) / self.seconds

    def at_rate(self, rate: float) -> Trace:
        """The trace with its time axis scaled to that mean rate."""
        factor = self.rate / rate
        return Trace(self.name, self.times * factor, self.seconds * factor)
