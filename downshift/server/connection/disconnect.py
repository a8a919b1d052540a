"""Notifies waiters when a request's client disconnects, without a polling task where the server is ours."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from typing import Any

    from starlette.types import Receive

DISCONNECT = "downshift.disconnect"
"""The key in a request's scope: the `Disconnect` of its connection, where our HTTP protocol serves it."""


class Disconnect:
    """The end of one connection, as an event: every subscriber is called once it is set."""

    def __init__(self) -> None:
        self._set = False
        self._callbacks: set[Callable[[], None]] = set()

    def set(self) -> None:
        """The connection is lost: call every subscriber now, and later ones at once."""
        self._set = True
        for callback in tuple(self._callbacks):
            callback()

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call it when the connection is lost."""
        self._callbacks.add(callback)
        if self._set:
            callback()

    def unsubscribe(self, callback: Callable[[], None]) -> None:
        """No longer call it."""
        self._callbacks.discard(callback)


@contextmanager
def on_disconnect(
    scope: MutableMapping[str, Any], receive: Receive, callback: Callable[[], None]
) -> Iterator[None]:
    """Within, `callback` is called when the client disconnects; the body must have been read before.

    Under a server other than ours a task waits for ASGI's `http.disconnect` instead.
    """
    disconnect: Disconnect | None = scope.get(DISCONNECT)
    if disconnect is not None:
        disconnect.subscribe(callback)
        try:
            yield
        finally:
            disconnect.unsubscribe(callback)
        return
    waiting = asyncio.ensure_future(disconnected(receive))
    waiting.add_done_callback(lambda task: None if task.cancelled() else callback())
    try:
        yield
    finally:
        waiting.cancel()


async def disconnected(receive: Receive) -> None:
    """Return when ASGI reports `http.disconnect`."""
    while (await receive())["type"] != "http.disconnect":
        pass
