"""The queue: earliest deadline first, in one sorted list with one owner."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import count
from typing import TYPE_CHECKING, Generic, TypeVar

from downshift.runtime.scheduling.policy import QueueView, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

W = TypeVar("W", bound=Waiting)


class EdfQueue(Generic[W]):
    """Waiting requests by priority, then deadline, then arrival. Not thread-safe: its owner locks.

    A request without a budget goes by when it would be given up, so nearly always behind those with one.
    Sorted lists beat a heap here: policies read the queue in order, most requests come in at the end and
    leave at the front, and a few thousand entries move fast.
    """

    def __init__(self) -> None:
        self._items: list[W] = []
        self._keys: list[tuple[int, float, int]] = []  # sorted; the key of the item at the same index
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
        keys = self._keys
        if not keys or keys[-1] < key:
            keys.append(key)
            self._items.append(item)
        else:
            index = bisect_left(keys, key)
            keys.insert(index, key)
            self._items.insert(index, item)
        self.examples += item.examples

    def remove(self, item: W) -> bool:
        """Take the item out; False when it was not waiting. Whoever gets True owns the item's outcome."""
        items, keys = self._items, self._keys
        same = (-item.priority, item.deadline)
        index = bisect_left(keys, same)
        while index < len(items) and keys[index][:2] == same:
            if items[index] is item:
                del keys[index], items[index]
                self.examples -= item.examples
                return True
            index += 1
        return False

    def claim(self, subnet: str, most: int) -> list[W]:
        """Take out the head and, in order, others `subnet` may answer: `most` examples, or a larger head.

        What does not fit is passed over, so that it keeps nobody behind it from joining.
        """
        if self.examples == len(self._items) and self._shares_candidates(most):
            return self._take_front(most)
        claimed = [self._items[0]]
        examples = claimed[0].examples
        for item in self._items[1:]:
            if examples >= most:
                break
            if subnet in item.candidates and examples + item.examples <= most:
                claimed.append(item)
                examples += item.examples
        for item in claimed:
            self.remove(item)
        return claimed

    def examples_before(self, deadline: float, priority: int) -> int:
        """How many examples would be served before a new request with that deadline and priority."""
        keys = self._keys
        if not keys or keys[-1][:2] <= (-priority, deadline):
            return self.examples
        index = bisect_right(keys, (-priority, deadline, next(self._serial)))
        return sum(item.examples for item in self._items[:index])

    def view(self, now: float, executors: int = 1) -> QueueView:
        """What a policy sees; valid until the queue changes."""
        return QueueView(now, self._items, self.examples, executors)

    def _shares_candidates(self, most: int) -> bool:
        """The usual case: whoever may answer the head may answer the others at the front as well."""
        candidates = self._items[0].candidates
        return all(item.candidates is candidates for item in self._items[1:most])

    def _take_front(self, most: int) -> list[W]:
        claimed = self._items[:most]
        del self._items[:most], self._keys[:most]
        self.examples -= len(claimed)
        return claimed
