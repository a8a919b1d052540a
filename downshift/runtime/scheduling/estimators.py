"""Online estimators: the arrival rate (EWMA) and the latency correction (median over a sliding window)."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST = 0.05  # share of its memory
GAPS = 200  # about how many past gaps the burstiness remembers
MOST_BURSTY = 32.0
WINDOW = 0.5  # seconds
MOST = 9  # batches in the window at most
FEWEST = 3  # batches below which one outlier would be the median
STEP = 1.25  # factors are powers of this, so that few scaled profiles are built
FAR = 1e6  # clamp of the ratio: beyond it the profile is nonsense
LITTLE, MUCH = STEP**-0.5, STEP**0.5  # between these ratios the nearest power is 1


class ArrivalRate:
    """Examples per second, each arrival weighted by exp(-age / memory). Owned by one thread.

    memory: seconds after which an arrival counts for 1/e. While it is not yet full, the rate is that of the
    part that is, but never of less than LEAST of it, as the first few arrivals say little.
    """

    def __init__(self, memory: float = 0.5) -> None:
        self._memory = memory
        self._rate = 0.0
        self._at = 0.0
        self._since: float | None = None
        self._gap = 0.0
        self._gap_squared = 0.0

    def seen(self, now: float, examples: int = 1) -> None:
        """Count an arrival; `now` never runs backwards."""
        if self._since is None:
            self._since = now
        else:
            gap = now - self._at
            if not self._gap:
                self._gap, self._gap_squared = gap, gap * gap
            self._gap += (gap - self._gap) / GAPS
            self._gap_squared += (gap * gap - self._gap_squared) / GAPS
        self._rate = self._decayed(now) + examples / self._memory
        self._at = now

    def at(self, now: float) -> float:
        """The rate at that moment, which is not before the latest arrival."""
        if self._since is None:
            return 0.0
        filled = 1.0 - math.exp((self._since - now) / self._memory)
        return self._decayed(now) / max(LEAST, filled)

    def _decayed(self, now: float) -> float:
        return self._rate * math.exp((self._at - now) / self._memory)

    @property
    def burstiness(self) -> float:
        """Squared coefficient of variation of the gaps between arrivals; 1 before there are any."""
        square = self._gap * self._gap
        if not square:
            return 1.0
        return min(MOST_BURSTY, max(0.0, self._gap_squared / square - 1.0))


@dataclass(frozen=True)
class LatencyCorrection:
    """The sliding window: (when a batch ended, its duration over the profile's p50 for it), oldest first.

    A value: `after` returns the next one. A noisy neighbour shows in the factor after a handful of batches,
    and is gone as soon as half of the window is fast again.
    """

    batches: tuple[tuple[float, float], ...] = ()

    def after(self, now: float, ratio: float) -> LatencyCorrection:
        """The window with one more batch in it."""
        batches = self.batches
        if batches and batches[0][0] <= now - WINDOW:
            batches = tuple(batch for batch in batches if batch[0] > now - WINDOW)
        return LatencyCorrection((*batches[1 - MOST :], (now, ratio)))

    def stale(self, now: float) -> bool:
        """The window is empty: only the profile is known."""
        return not self.batches or self.batches[-1][0] <= now - WINDOW

    @property
    def factor(self) -> float:
        """What to multiply the profile's latencies by: the median ratio, rounded to a power of STEP."""
        if len(self.batches) < FEWEST:
            return 1.0
        ratio = sorted([ratio for _, ratio in self.batches])[len(self.batches) // 2]
        if ratio <= 0.0 or LITTLE < ratio < MUCH:
            return 1.0
        return float(STEP ** round(math.log(min(max(ratio, 1.0 / FAR), FAR), STEP)))
