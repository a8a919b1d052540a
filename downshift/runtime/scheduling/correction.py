"""How much slower, or faster, this machine is now than when it was profiled."""

from __future__ import annotations

import math
from dataclasses import dataclass

WINDOW = 0.5  # seconds a batch counts for
MOST = 9  # batches that count
FEWEST = 3  # below that many, one odd batch could mislead
STEP = 1.25  # factors are powers of this, so that few profiles are ever built
FAR = 1e6  # no machine is that many times slower, or faster: the profile is nonsense
LITTLE, MUCH = STEP**-0.5, STEP**0.5  # between these the nearest power is 1


@dataclass(frozen=True)
class Correction:
    """The latest batches, oldest first: when each ended, and its duration over the profile's p50 for it.

    A value: `after` gives the next one. A neighbour's noise is in the factor after a handful of batches,
    and out of it as soon as half of those that count are swift again.
    """

    batches: tuple[tuple[float, float], ...] = ()

    def after(self, now: float, ratio: float) -> Correction:
        """The correction once one more batch has ended."""
        batches = self.batches
        if batches and batches[0][0] <= now - WINDOW:
            batches = tuple(batch for batch in batches if batch[0] > now - WINDOW)
        return Correction((*batches[1 - MOST :], (now, ratio)))

    def stale(self, now: float) -> bool:
        """No batch counts any more: nothing is known but the profile."""
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
