"""SLO attainment and served accuracy over the last minute, in constant memory."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass


@dataclass(slots=True)
class _Slot:
    """What ended within one second."""

    second: int = -1
    ended: int = 0
    in_time: int = 0
    rated: int = 0
    accuracy: float = 0.0


class Window:
    """Counts of the requests that ended during the last `seconds` seconds; thread-safe.

    Times are monotonic seconds and are passed in.
    """

    def __init__(self, seconds: int = 60) -> None:
        self._seconds = seconds
        self._slots = [_Slot() for _ in range(seconds)]
        self._lock = threading.Lock()

    def record(self, now: float, *, in_time: bool, accuracy: float | None = None) -> None:
        """One request ended now; `accuracy` is that of the sub-net that answered it, where measured."""
        second = int(now)
        with self._lock:
            index = second % self._seconds
            slot = self._slots[index]
            if slot.second != second:
                slot = self._slots[index] = _Slot(second)
            slot.ended += 1
            slot.in_time += in_time
            if in_time and accuracy is not None:
                slot.rated += 1
                slot.accuracy += accuracy

    def attainment(self, now: float) -> float:
        """Share of requests answered within their budget, in [0, 1]; NaN when none ended."""
        slots = self._current(now)
        return _ratio(sum(slot.in_time for slot in slots), sum(slot.ended for slot in slots))

    def served_accuracy(self, now: float) -> float:
        """Mean validation accuracy of the sub-nets that answered in time; NaN when none did."""
        slots = self._current(now)
        return _ratio(sum(slot.accuracy for slot in slots), sum(slot.rated for slot in slots))

    def _current(self, now: float) -> list[_Slot]:
        oldest = int(now) - self._seconds + 1
        with self._lock:
            return [slot for slot in self._slots if slot.second >= oldest]


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else math.nan
