"""Our own busy time on a device: NVML does not tell it apart from others', and tells nothing for MIG."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class BusyMeter:
    """Adds up the time in which at least one thread is inside `with meter:`; thread-safe.

    Host time from handing a batch over until its outputs are back: runs are synchronous, so that is how long
    the device, or its bus, was taken.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()  # guards what follows
        self._total = 0.0
        self._inside = 0
        self._since = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._since = self._now()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._total += self._now() - self._since

    @property
    def seconds(self) -> float:
        """In all so far; a batch that is running counts up to now."""
        with self._lock:
            return self._total + (self._now() - self._since if self._inside else 0.0)
