"""Time as a value that is passed in: the monotonic clock, and the protocol that a fake one satisfies."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that never run backwards; only differences mean anything."""

    def now(self) -> float:
        """Seconds since some fixed moment."""
        ...


class MonotonicClock:
    """The machine's monotonic clock: deadlines are seconds of `time.monotonic`."""

    now = staticmethod(time.monotonic)  # itself, not a method around it: read several times per request
