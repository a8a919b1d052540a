"""Time as a value that is passed in: the real clock, and the protocol a fake one satisfies."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that never run backwards; only differences mean anything."""

    def now(self) -> float:
        """Seconds since some fixed moment."""
        ...


class MonotonicClock:
    """The machine's monotonic clock, `time.monotonic`: deadlines are read on this one."""

    def now(self) -> float:
        """Seconds of `time.monotonic`."""
        return time.monotonic()
