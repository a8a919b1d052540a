"""How long simulated batches take: drawn from the profile's quantiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.profile import Profile

DRAWN_AT_ONCE = 4096


class ServiceTimes:
    """Durations such that the profile's p50 and p99 are theirs too.

    Half of all batches take exactly the p50; from there on the duration grows linearly with its rank and
    ends at the p99. Nothing is faster than the p50, so that a bound computed from p50s stays a bound.
    """

    def __init__(self, profile: Profile, seed: int) -> None:
        self._profile = profile
        self._spread = any(subnet.p50 != subnet.p99 for subnet in profile.subnets)
        self._weights = _weights(np.random.default_rng(seed))

    def draw(self, subnet: str, examples: int) -> float:
        """Seconds for the next batch."""
        latency = self._profile[subnet]
        typical = latency.typical(examples)
        if not self._spread:
            return typical
        return typical + next(self._weights) * (latency.bound(examples) - typical)


def _weights(rng: np.random.Generator) -> Iterator[float]:
    """Where between p50 and p99 each duration lies, in [0, 1]."""
    while True:
        rank = rng.random(DRAWN_AT_ONCE)
        yield from np.clip((rank - 0.5) / 0.49, 0.0, 1.0).tolist()
