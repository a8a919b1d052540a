"""How long simulated batches take: drawn from the profile's quantiles."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from downshift.runtime.profiling.profile import Profile, SubnetLatency

DRAWN_AT_ONCE = 4096


class ServiceTimes:
    """Durations such that the profile's p50, p95 and p99 are theirs too.

    Half of all batches take exactly the p50; from there on the duration grows linearly with its rank to the
    p95, then to the p99, where it ends. Nothing is faster than the p50, so that a bound computed from p50s
    stays a bound.
    """

    def __init__(self, profile: Profile, seed: int) -> None:
        self._profile = profile
        self._spread = any(subnet.p50 != subnet.p99 for subnet in profile.subnets)
        self._weights = _weights(np.random.default_rng(seed))

    def seconds(self, subnet: str, examples: int, begin: float) -> float:  # noqa: ARG002 - `Recorded` does
        """Seconds for the next batch."""
        latency = self._profile[subnet]
        typical = latency.typical(examples)
        if not self._spread:
            return typical
        slow, slowest = next(self._weights)
        high = latency.high(examples)
        return typical + slow * (high - typical) + slowest * (latency.bound(examples) - high)


class Recorded:
    """Durations as a machine's batches had them at the same moments, over the profile's p50s.

    times: seconds in the trace, ascending, at least one. factors: what batches begun from then on took, over
    their p50; the first also counts before its time.
    """

    def __init__(self, profile: Profile, times: Sequence[float], factors: Sequence[float]) -> None:
        self._profile = profile
        self._times, self._factors = list(times), list(factors)

    def seconds(self, subnet: str, examples: int, begin: float) -> float:
        """Seconds for a batch that begins then."""
        factor = self._factors[max(0, bisect_right(self._times, begin) - 1)]
        return factor * self._profile[subnet].typical(examples)


def mean(latency: SubnetLatency, examples: int) -> float:
    """What a batch takes on average if it is drawn like that."""
    typical, high, bound = latency.typical(examples), latency.high(examples), latency.bound(examples)
    return typical + (0.45 / 2 + 0.05) * (high - typical) + (0.04 / 2 + 0.01) * (bound - high)


def _weights(rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """How far from p50 to p95, and from there to p99, each duration has come, both in [0, 1]."""
    while True:
        rank = rng.random(DRAWN_AT_ONCE)
        slow, slowest = (
            np.clip((rank - begin) / (end - begin), 0.0, 1.0) for begin, end in ((0.5, 0.95), (0.95, 0.99))
        )
        yield from zip(slow.tolist(), slowest.tolist(), strict=True)
