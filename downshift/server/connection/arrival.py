"""When a request's first byte arrived, where its latency budget begins to run; and when its client goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from downshift.server.connection.concurrency import join
from downshift.server.connection.disconnect import Line, connect

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_KEY = "downshift.arrival"


class FirstByteProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which notes the clock when a request begins, before its headers are read.

    It also tells whoever waits on a request that the connection is lost, and who else is being answered.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._line = Line()

    def on_message_begin(self) -> None:
        """Note the clock."""
        super().on_message_begin()
        scope = cast("MutableMapping[str, Any]", self.scope)
        stamp(scope)
        connect(scope, self._line)
        join(scope, self.server_state, self._line, arrival(scope))

    def on_message_complete(self) -> None:
        """Go on reading, or a client that hangs up after a long body would not be noticed."""
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        super().connection_lost(exc)
        self._line.lose()


def stamp(scope: MutableMapping[str, Any]) -> None:
    """Note the arrival now, unless the protocol has done so earlier."""
    scope.setdefault(_KEY, time.monotonic())


def arrival(scope: MutableMapping[str, Any]) -> float:
    """Monotonic seconds at which the stamped request's first byte arrived."""
    moment: float = scope[_KEY]
    return moment
