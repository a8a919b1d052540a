"""How fast requests arrive, and how unevenly: exponentially weighted."""

from __future__ import annotations

import math

LEAST = 0.05  # share of its memory
GAPS = 200  # about how many past gaps the burstiness remembers
MOST_BURSTY = 32.0


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
