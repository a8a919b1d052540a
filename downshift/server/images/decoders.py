"""A thread pool that decodes images off the event loop, with a bounded queue: a full one sheds load."""

from __future__ import annotations

import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from downshift.runtime.errors import DeadlineExpired
from downshift.server.errors import DecodersBusy

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

THREADS = 2  # images decoded at once; each may take a few bytes per pixel of the limit

T = TypeVar("T")


class Decoders:
    """Runs at most `threads` tasks at once and lets at most `waiting` queue; thread-safe.

    Silences Pillow's warnings for good: a client words them, and Python keeps every wording it has shown.
    """

    def __init__(
        self, waiting: int, threads: int = THREADS, now: Callable[[], float] = time.monotonic
    ) -> None:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        self._limit = threads + waiting
        self._waiting = waiting
        self._now = now
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="downshift-decode")
        self._held = 0
        self._lock = threading.Lock()  # guards _held

    def check(self) -> None:
        """Raise `DecodersBusy` if the queue is full."""
        if self._held >= self._limit:
            raise DecodersBusy(self._waiting)

    def submit(self, work: Callable[[], T], deadline: float | None = None) -> Future[T]:
        """The future of what `work` returns; raises `DecodersBusy` when the queue is full.

        Work that would start after its monotonic deadline is dropped: the future raises `DeadlineExpired`.
        Cancelled work is dropped too.
        """
        came = self._now()

        def run() -> T:
            now = self._now()
            if deadline is not None and now > deadline:
                raise DeadlineExpired(now - came)
            return work()

        with self._lock:
            self.check()
            self._held += 1
        future = self._pool.submit(run)
        future.add_done_callback(self._release)
        return future

    def close(self) -> None:
        """Start nothing more and cancel what is queued."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _release(self, _: Future[T]) -> None:
        with self._lock:
            self._held -= 1
