"""Our own busy time on a device: NVML does not tell it apart from others', and tells nothing for MIG."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class BusyMeter:
    """Adds up the seconds spent inside `with meter:`; for one thread at a time, read by any.

    Host time from handing a batch over until its outputs are back: runs are synchronous, so that is how long
    the device, or its bus, was taken.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()  # a sample may come between the two writes of __exit__
        self._total = 0.0
        self._since: float | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._since = self._now()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._since is not None:
                self._total += self._now() - self._since
                self._since = None

    @property
    def seconds(self) -> float:
        """In all so far; a batch that is running counts up to now."""
        with self._lock:
            running = 0.0 if self._since is None else self._now() - self._since
            return self._total + running
