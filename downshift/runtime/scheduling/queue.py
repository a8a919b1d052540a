"""The request queue: earliest deadline first (EDF), one sorted list with one owner."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import count
from typing import TYPE_CHECKING, Generic, TypeVar

from downshift.runtime.scheduling.policy import QueueView, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

W = TypeVar("W", bound=Waiting)


class EdfQueue(Generic[W]):
    """Queued requests by priority, then deadline, then arrival. Not thread-safe: its owner locks.

    A request without a budget has its time-out as deadline, so it is nearly always behind those with one.
    A sorted list instead of a heap: policies read the queue in order, requests are appended at the end and
    removed at the front, and moving a few thousand entries is one `memmove`.
    """

    def __init__(self) -> None:
        self._items: list[W] = []
        self._keys: list[tuple[int, float, int]] = []  # sorted; the key of the item at the same index
        self._serial = count()
        self.examples = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[W]:
        """The queued requests in the order of service."""
        return iter(self._items)

    @property
    def head(self) -> W:
        """The next request in the order of service; the queue must not be empty."""
        return self._items[0]

    def push(self, item: W) -> None:
        """Insert the item behind every item of equal or higher urgency: FIFO among equals."""
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
        """Remove the item; False if it was not queued. The caller that gets True owns the item's outcome."""
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
        """Remove and return a batch: the head and, in order, items that `subnet` may answer.

        The batch holds at most `most` examples, or the head alone if that is larger. An item that does not
        fit is skipped, so it does not block those behind it (no head-of-line blocking within the batch).
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
        """Examples ahead of a new request with that deadline and priority."""
        keys = self._keys
        if not keys or keys[-1][:2] <= (-priority, deadline):
            return self.examples
        index = bisect_right(keys, (-priority, deadline, next(self._serial)))
        return sum(item.examples for item in self._items[:index])

    def view(self, now: float, executors: int = 1) -> QueueView:
        """A view of the queue for a policy; valid until the queue changes."""
        return QueueView(now, self._items, self.examples, executors)

    def _shares_candidates(self, most: int) -> bool:
        """Whether the first `most` items have the head's candidates: the usual case, and the fast path."""
        candidates = self._items[0].candidates
        return all(item.candidates is candidates for item in self._items[1:most])

    def _take_front(self, most: int) -> list[W]:
        claimed = self._items[:most]
        del self._items[:most], self._keys[:most]
        self.examples -= len(claimed)
        return claimed
