"""Tracks concurrent requests on this event loop, so that a lone short request can run inline."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from uvicorn.server import ServerState

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from typing import Any

_KEY = "downshift.concurrency"
CONCURRENT_SECONDS = 0.01
"""Requests on two connections that begin within this time count as concurrent."""


class Socket(Protocol):
    """A connection below TLS."""

    def abort(self) -> None:
        """Close it at once, whatever is still to be sent."""


class ConcurrencyState(ServerState):
    """uvicorn's server state, which also knows whether a single client is active.

    streams: responses in progress that only wait for the clock (server-sent events). calls: requests in
    progress over gRPC. tls_sockets: open connections below TLS, those within their handshake included.
    """

    def __init__(self) -> None:
        super().__init__()
        self.streams = self.calls = 0
        self.tls_sockets: set[Socket] = set()
        self._connection: object = None
        self._last_request = self._last_switch = -math.inf

    def request_began(self, connection: object, now: float) -> None:
        """A request begins on that connection at monotonic second `now`."""
        if connection != self._connection:
            if now - self._last_request < CONCURRENT_SECONDS:
                self._last_switch = now
            self._connection = connection
        self._last_request = now

    @property
    def alone(self) -> bool:
        """One request is in progress, streams excluded, and the ones before it used the same connection."""
        return (
            len(self.tasks) + self.calls - self.streams <= 1
            and self._last_request - self._last_switch >= CONCURRENT_SECONDS
        )


def track(scope: MutableMapping[str, Any], state: ServerState, connection: object, now: float) -> None:
    """Attach the server's state to a request that begins on that connection."""
    scope[_KEY] = state
    if isinstance(state, ConcurrencyState):
        state.request_began(connection, now)


@contextmanager
def calling(
    scope: MutableMapping[str, Any], state: ConcurrencyState, connection: str, now: float
) -> Iterator[None]:
    """Within, a request over gRPC is in progress, which began at second `now` on that connection."""
    track(scope, state, connection, now)
    state.calls += 1
    try:
        yield
    finally:
        state.calls -= 1


def alone(scope: MutableMapping[str, Any]) -> bool:
    """Whether no other request is in progress; false under a server other than ours."""
    state = scope.get(_KEY)
    return isinstance(state, ConcurrencyState) and state.alone


@contextmanager
def streaming(scope: MutableMapping[str, Any]) -> Iterator[None]:
    """Within, the request does not count as concurrent: it only streams."""
    state = scope.get(_KEY)
    if not isinstance(state, ConcurrencyState):
        yield
        return
    state.streams += 1
    try:
        yield
    finally:
        state.streams -= 1
