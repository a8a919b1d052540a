"""Service times of simulated batches: random with the profile's quantiles, or recorded on a machine."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from downshift.runtime.profiling.profile import Profile, SubnetLatency

DRAWN_AT_ONCE = 4096


class ServiceTimes:
    """Random service times with the profile's p50, p95 and p99, by inverse transform sampling.

    The quantile function is constant at the p50 up to 0.5, then piecewise linear to the p95 and to the p99,
    the maximum. No batch is faster than the p50, so the clairvoyant bound, computed from p50s, holds.
    """

    def __init__(self, profile: Profile, seed: int) -> None:
        self._profile = profile
        self._spread = any(subnet.p50 != subnet.p99 for subnet in profile.subnets)
        self._weights = _weights(np.random.default_rng(seed))

    def seconds(self, subnet: str, examples: int, begin: float) -> float:  # noqa: ARG002 - `Recorded` does
        """Service time of the next batch, seconds."""
        latency = self._profile[subnet]
        typical = latency.typical(examples)
        if not self._spread:
            return typical
        slow, slowest = next(self._weights)
        high = latency.high(examples)
        return typical + slow * (high - typical) + slowest * (latency.bound(examples) - high)


class Recorded:
    """Service times of a real run: a step function of time that scales the profile's p50.

    times: seconds in the trace, ascending, at least one. factors: measured duration over p50 of batches that
    begin from then on; the first also holds before its time.
    """

    def __init__(self, profile: Profile, times: Sequence[float], factors: Sequence[float]) -> None:
        self._profile = profile
        self._times, self._factors = list(times), list(factors)

    def seconds(self, subnet: str, examples: int, begin: float) -> float:
        """Service time of a batch that begins at that time, seconds."""
        factor = self._factors[max(0, bisect_right(self._times, begin) - 1)]
        return factor * self._profile[subnet].typical(examples)


def mean(latency: SubnetLatency, examples: int) -> float:
    """Expected value of the service times of `ServiceTimes`, seconds."""
    typical, high, bound = latency.typical(examples), latency.high(examples), latency.bound(examples)
    return typical + (0.45 / 2 + 0.05) * (high - typical) + (0.04 / 2 + 0.01) * (bound - high)


def _weights(rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Interpolation weights of each duration: from p50 to p95, and from p95 to p99, both in [0, 1]."""
    while True:
        rank = rng.random(DRAWN_AT_ONCE)
        slow, slowest = (
            np.clip((rank - begin) / (end - begin), 0.0, 1.0) for begin, end in ((0.5, 0.95), (0.95, 0.99))
        )
        yield from zip(slow.tolist(), slowest.tolist(), strict=True)
