"""When a request's first byte arrived, which is when its latency budget begins to run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from downshift.server.connection.concurrency import track
from downshift.server.connection.disconnect import Disconnect, attach
from downshift.server.connection.upgrade import UpgradeIgnoringProtocol

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_KEY = "downshift.arrival"


class FirstByteProtocol(UpgradeIgnoringProtocol):
    """An HTTP protocol that stamps a request's arrival before its headers are parsed.

    It also attaches to each request the disconnect event of its connection and the server's concurrency.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._disconnect = Disconnect()

    def on_message_begin(self) -> None:
        """Stamp the arrival; a head that is parsed again arrived when it was parsed first."""
        began = arrival(cast("MutableMapping[str, Any]", self.scope)) if self.replaying else time.monotonic()
        super().on_message_begin()
        scope = cast("MutableMapping[str, Any]", self.scope)
        stamp(scope, began)
        attach(scope, self._disconnect)
        track(scope, self.server_state, self._disconnect, arrival(scope))

    def on_message_complete(self) -> None:
        """Resume reading: otherwise a disconnect after a long body would go unnoticed."""
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify every subscriber."""
        super().connection_lost(exc)
        self._disconnect.set()


def stamp(scope: MutableMapping[str, Any], moment: float | None = None) -> None:
    """Stamp the arrival at that monotonic second, by default now, unless the protocol has done so earlier."""
    scope.setdefault(_KEY, time.monotonic() if moment is None else moment)


def arrival(scope: MutableMapping[str, Any]) -> float:
    """Monotonic seconds at which the stamped request's first byte arrived."""
    moment: float = scope[_KEY]
    return moment
