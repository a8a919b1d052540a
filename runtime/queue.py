"""The queue: earliest deadline first, in one sorted list with one owner."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import count
from typing import TYPE_CHECKING, Generic, TypeVar

from runtime.policy import QueueView, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

W = TypeVar("W", bound=Waiting)


class EdfQueue(Generic[W]):
    """Waiting requests by priority, then deadline, then arrival. Not thread-safe: its owner locks.

    A request without a budget has the deadline infinity and so comes last, first in first out.
    Sorted lists beat a heap here: policies read the queue in order, and a few thousand entries move fast.
    """

    def __init__(self) -> None:
        self._items: list[W] = []
        self._keys: list[tuple[int, float, int]] = []  # sorted; the key of the item at the same index
        self._key_of: dict[W, tuple[int, float, int]] = {}
        self._serial = count()
        self.examples = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[W]:
        """The waiting requests in the order of service."""
        return iter(self._items)

    @property
    def head(self) -> W:
        """The request to serve next; the queue must not be empty."""
        return self._items[0]

    def push(self, item: W) -> None:
        """Queue the item, behind all that are at least as urgent."""
        key = (-item.priority, item.deadline, next(self._serial))
        index = bisect_left(self._keys, key)
        self._keys.insert(index, key)
        self._items.insert(index, item)
        self._key_of[item] = key
        self.examples += item.examples

    def remove(self, item: W) -> bool:
        """Take the item out; False when it was not waiting. Whoever gets True owns the item's outcome."""
        key = self._key_of.pop(item, None)
        if key is None:
            return False
        index = bisect_left(self._keys, key)
        del self._keys[index], self._items[index]
        self.examples -= item.examples
        return True

    def examples_before(self, deadline: float, priority: int) -> int:
        """How many examples would be served before a new request with that deadline and priority."""
        key = (-priority, deadline, next(self._serial))
        return sum(item.examples for item in self._items[: bisect_right(self._keys, key)])

    def view(self, now: float) -> QueueView:
        """What a policy sees; valid until the queue changes."""
        return QueueView(now, self._items, self.examples)
