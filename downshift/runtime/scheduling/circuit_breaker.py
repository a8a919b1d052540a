"""The circuit breaker: which programs' devices have failed too often in a row to be tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from downshift.runtime.engines.programs import Pair

FAILURES = 3  # in a row: the first may be a moment's lack of memory


class CircuitBreaker:
    """Counts failures in a row of each program. Not thread-safe: its owner locks.

    A success ends the row if its batch was at least as large as the smallest that failed: a small batch
    proves nothing about the memory that a large one needs.
    """

    def __init__(self) -> None:
        self._rows: dict[Pair, tuple[int, int]] = {}  # failures, and the smallest batch among them

    def failed(self, program: Pair, examples: int) -> bool:
        """Whether this failure opens the breaker; it is counted anew from the next on."""
        count, smallest = self._rows.pop(program, (0, examples))
        if count + 1 >= FAILURES:
            return True
        self._rows[program] = count + 1, min(smallest, examples)
        return False

    def succeeded(self, program: Pair, examples: int) -> None:
        """A batch of that many examples was answered."""
        if self._rows and program in self._rows and examples >= self._rows[program][1]:
            del self._rows[program]
