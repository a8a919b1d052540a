"""Who else is being answered by this event loop: what a request may do to it depends on that."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

from uvicorn.server import ServerState

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from typing import Any

_KEY = "downshift.crowd"
TOGETHER_SECONDS = 0.01
"""Requests over two connections that come within that time count as answered at the same time."""


class Crowd(ServerState):
    """uvicorn's state of a server, which also knows whether only one client asks at present.

    streams: answers under way that only ever wait for the clock.
    """

    def __init__(self) -> None:
        super().__init__()
        self.streams = 0
        self._line: object = None
        self._last = self._mixed = -math.inf

    def joined(self, line: object, now: float) -> None:
        """A request begins on that connection."""
        if line is not self._line:
            if now - self._last < TOGETHER_SECONDS:
                self._mixed = now
            self._line = line
        self._last = now

    @property
    def alone(self) -> bool:
        """One request is being answered, streams apart, and those before it came over its connection."""
        return len(self.tasks) - self.streams <= 1 and self._last - self._mixed >= TOGETHER_SECONDS


def join(scope: MutableMapping[str, Any], crowd: ServerState, line: object, now: float) -> None:
    """Note whose request it is that begins on that connection."""
    scope[_KEY] = crowd
    if isinstance(crowd, Crowd):
        crowd.joined(line, now)


def alone(scope: MutableMapping[str, Any]) -> bool:
    """Whether no other request is being answered; false where a server that is not ours runs this one."""
    crowd = scope.get(_KEY)
    return isinstance(crowd, Crowd) and crowd.alone


@contextmanager
def streaming(scope: MutableMapping[str, Any]) -> Iterator[None]:
    """Within, the request does not count as one that is being answered."""
    crowd = scope.get(_KEY)
    if not isinstance(crowd, Crowd):
        yield
        return
    crowd.streams += 1
    try:
        yield
    finally:
        crowd.streams -= 1
