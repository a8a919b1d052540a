"""How fast requests arrive: an exponentially weighted rate."""

from __future__ import annotations

import math


class ArrivalRate:
    """Examples per second, each arrival weighted by exp(-age / memory). Owned by one thread.

    memory: seconds after which an arrival counts for 1/e. Starts at 0 and so begins too low.
    """

    def __init__(self, memory: float = 0.5) -> None:
        self._memory = memory
        self._rate = 0.0
        self._at = -math.inf

    def seen(self, now: float, examples: int = 1) -> None:
        """Count an arrival; `now` never runs backwards."""
        self._rate = self.at(now) + examples / self._memory
        self._at = now

    def at(self, now: float) -> float:
        """The rate at that moment, which is not before the latest arrival."""
        return self._rate * math.exp((self._at - now) / self._memory) if self._rate else 0.0
