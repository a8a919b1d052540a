"""When a request's first byte arrived, which is when its latency budget begins to run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping

ARRIVAL = "downshift.arrival"
"""The key in a request's scope: monotonic seconds, noted by our HTTP protocol or else by the outermost
middleware."""


def stamp(scope: MutableMapping[str, Any], moment: float | None = None) -> None:
    """Stamp the arrival at that monotonic second, by default now, unless the protocol has done so earlier."""
    scope.setdefault(ARRIVAL, time.monotonic() if moment is None else moment)


def unix_arrival(scope: MutableMapping[str, Any]) -> float:
    """Unix seconds at which the request's first byte arrived: the wall clock is read once, here."""
    return time.time() - (time.monotonic() - arrival(scope))


def arrival(scope: MutableMapping[str, Any]) -> float:
    """Monotonic seconds at which the stamped request's first byte arrived."""
    moment: float = scope[ARRIVAL]
    return moment
