"""When a request's first byte arrived: where its latency budget begins to run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

_KEY = "downshift.arrival"


class FirstByteProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which notes the clock when a request begins, before its headers are read."""

    def on_message_begin(self) -> None:
        """Note the clock."""
        super().on_message_begin()
        stamp(cast("MutableMapping[str, Any]", self.scope))


def stamp(scope: MutableMapping[str, Any]) -> None:
    """Note the arrival now, unless the protocol has done so earlier."""
    scope.setdefault(_KEY, time.monotonic())


def arrival(scope: MutableMapping[str, Any]) -> float:
    """Monotonic seconds at which the stamped request's first byte arrived."""
    moment: float = scope[_KEY]
    return moment
