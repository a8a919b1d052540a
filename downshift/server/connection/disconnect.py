"""The moment at which a request's client hangs up, without a task that waits for it where that can be."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from typing import Any

    from starlette.types import Receive

_KEY = "downshift.line"


class Line:
    """A connection, as far as whoever waits on it cares: it calls whoever is on it, once it is lost."""

    def __init__(self) -> None:
        self._lost = False
        self._waiting: set[Callable[[], None]] = set()

    def lose(self) -> None:
        """The client has gone: call everybody who waits, and whoever comes, at once."""
        self._lost = True
        for call in tuple(self._waiting):
            call()

    def watch(self, call: Callable[[], None]) -> None:
        """Call it when the line is lost."""
        self._waiting.add(call)
        if self._lost:
            call()

    def leave(self, call: Callable[[], None]) -> None:
        """No longer call it."""
        self._waiting.discard(call)


def connect(scope: MutableMapping[str, Any], line: Line) -> None:
    """Note that the request came over that line."""
    scope[_KEY] = line


@contextmanager
def hangup(scope: MutableMapping[str, Any], receive: Receive, call: Callable[[], None]) -> Iterator[None]:
    """Within, `call` is called when the client hangs up; the body must have been read before.

    Where the server that runs this application is not ours, a task asks it.
    """
    line: Line | None = scope.get(_KEY)
    if line is not None:
        line.watch(call)
        try:
            yield
        finally:
            line.leave(call)
        return
    asking = asyncio.ensure_future(_disconnected(receive))
    asking.add_done_callback(lambda task: None if task.cancelled() else call())
    try:
        yield
    finally:
        asking.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
