"""Supervises background workers: threads and tasks that survive whatever their work raises."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0  # after a failure: what failed for want of files or memory needs time to end
LOG_SECONDS = 60.0  # one message of a worker's failures in that time; the rest are counted


@dataclass(frozen=True, kw_only=True)
class WorkerHealth:
    """All workers of one name. errors: passes that raised, ever, those of workers now closed included.

    healthy: all run, and none failed in its last pass. alive: none has ended unasked.
    """

    name: str
    errors: int
    healthy: bool
    alive: bool


class Worker:
    """A daemon thread that repeats its work until it is closed; made by `Supervisor.start`."""

    def __init__(self, name: str, work: Callable[[], None], period: float, retry: float) -> None:
        self.name = name
        self.failing = False
        self._work = work
        self._period, self._retry = period, retry
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Its thread runs, or was asked to end."""
        return self._closing.is_set() or (self._thread is not None and self._thread.is_alive())

    def begin(self, failed: Callable[[str], None], ended: Callable[[], None]) -> None:
        """Start the thread. failed: called in the handler of every exception. ended: called when it ends."""

        def run() -> None:
            pause = self._period
            while not self._closing.wait(pause):
                self.failing, pause = False, self._period
                try:
                    self._work()
                except BaseException:  # noqa: BLE001 - SystemExit, too, would end the thread in silence
                    self.failing, pause = True, max(self._period, self._retry)
                    failed(self.name)
            ended()

        self._thread = threading.Thread(target=run, name=f"downshift-{self.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after the present pass; returns when it has ended."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()


class Supervisor:
    """Keeps workers running; thread-safe. One for a process, so that one place knows how all of them are."""

    def __init__(
        self,
        *,
        retry: float = RETRY_SECONDS,
        log_every: float = LOG_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retry, self._log_every, self._now = retry, log_every, now
        self._lock = threading.Lock()  # guards what follows
        self._errors: Counter[str] = Counter()
        self._workers: list[Worker | Enrolled | _Task] = []
        self._logged: dict[str, float] = {}
        self._unlogged: Counter[str] = Counter()

    def start(self, name: str, work: Callable[[], None], *, period: float = 0.0) -> Worker:
        """A thread `downshift-NAME` that does the work again and again, `period` seconds after each time.

        Whatever the work raises is logged and counted, and after `retry` seconds the work is done again.
        Raises RuntimeError when the system refuses a thread.
        """
        worker = Worker(name, work, period, self._retry)
        self._add(worker)
        try:
            worker.begin(self._failed, lambda: self._remove(worker))
        except BaseException:
            self._remove(worker)
            raise
        return worker

    async def run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """The same on an event loop: await the work again and again until this is cancelled."""
        task = _Task(name)
        self._add(task)
        try:
            while True:
                task.failing = False
                try:
                    await work()
                except Exception:  # noqa: BLE001 - whatever it is, it is logged
                    task.failing = True
                    self._failed(name)
                    await asyncio.sleep(self._retry)
        finally:
            self._remove(task)

    def enrol(self, name: str) -> Enrolled:
        """A worker of that name whose thread its owner runs and does not repeat; healthy until it `died`."""
        enrolled = Enrolled(name, self._failed_for_good, self._remove)
        self._add(enrolled)
        return enrolled

    @property
    def health(self) -> tuple[WorkerHealth, ...]:
        """Of every name that was ever started, in alphabetical order."""
        with self._lock:
            workers, errors = tuple(self._workers), dict(self._errors)
        return tuple(
            WorkerHealth(
                name=name,
                errors=count,
                alive=all(worker.alive for worker in workers if worker.name == name),
                healthy=all(worker.alive and not worker.failing for worker in workers if worker.name == name),
            )
            for name, count in sorted(errors.items())
        )

    @property
    def alive(self) -> bool:
        """No worker has ended unasked."""
        with self._lock:
            return all(worker.alive for worker in self._workers)

    def _add(self, worker: Worker | Enrolled | _Task) -> None:
        with self._lock:
            self._workers.append(worker)
            self._errors[worker.name] += 0

    def _remove(self, worker: Worker | Enrolled | _Task) -> None:
        with self._lock:
            self._workers.remove(worker)

    def _failed_for_good(self, name: str) -> None:
        with self._lock:
            self._errors[name] += 1

    def _failed(self, name: str) -> None:
        """Count a failure; log it unless the last message about that worker is too recent."""
        now = self._now()
        with self._lock:
            self._errors[name] += 1
            if now < self._logged.get(name, -self._log_every) + self._log_every:
                self._unlogged[name] += 1
                return
            self._logged[name] = now
            more = self._unlogged.pop(name, 0)
        since = f" ({more} more failures since the last message)" if more else ""
        log.exception("background worker %s failed and is run again%s", name, since)


@dataclass(eq=False)
class Enrolled:
    """A worker that runs once, such as a scheduler's execution thread; made by `Supervisor.enrol`."""

    name: str
    _failed: Callable[[str], None]
    _remove: Callable[[Enrolled], None]
    alive: bool = True
    _closed: bool = False

    @property
    def failing(self) -> bool:
        """A worker that runs once fails only by dying."""
        return not self.alive

    def died(self) -> None:
        """Count an error; this worker is dead until it is closed."""
        if self.alive:
            self.alive = False
            self._failed(self.name)

    def close(self) -> None:
        """Leave: asked to end, dead or not, it is no worker any more. May be called twice."""
        if not self._closed:
            self._closed = True
            self._remove(self)


@dataclass(eq=False)
class _Task:
    """A worker that is a task of an event loop, which ends only when it is cancelled."""

    name: str
    failing: bool = False
    alive: bool = True
