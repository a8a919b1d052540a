"""The process manager: starts the workers, starts again what dies, and passes signals on.

uvicorn's own `Multiprocess` has one hard-wired kind of process: no cores of its own for each, no wait between
two starts, no end to starting what dies at once, and no reason told when a model cannot be loaded.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Protocol

from downshift.errors import first_line
from downshift.server.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

log = logging.getLogger("downshift.server")

TICK_SECONDS = 0.1
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0  # seconds until a dead worker starts again; doubled each time
STEADY_SECONDS = 60.0  # a worker that has answered for so long has not died at start
DEATHS = 3  # in a row, of one worker while no other has ever answered: the server ends
CHECK_SECONDS = 2.0  # between two questions whether a worker is alive
DEAD_CHECKS = 3  # questions in a row without an answer, after which a worker is killed
START_SECONDS = 60.0  # for a process's imports, before it is asked whether it is alive
KILL_SECONDS = 10.0  # after the time to drain


class Make(Protocol):
    """Makes a worker's process, which is not started yet."""

    def __call__(self, index: int, reports: Connection, *, joins: bool) -> BaseProcess:
        """reports: where the worker sends None once it answers, or a sentence that says why it cannot.

        joins: others answer already.
        """
        ...


@dataclass(eq=False)
class _Place:
    """Where one worker runs, one process after the other.

    ready_at: since when this process answers. reload: SIGHUP came before that. deaths: of processes in a row
    that did not answer for `STEADY_SECONDS`. start_at, check_at: when the next may start, and is asked next.
    missed: questions in a row that it did not answer.
    """

    index: int
    process: BaseProcess | None = None
    reports: Connection | None = None
    ready_at: float | None = None
    error: str | None = None
    reload: bool = False
    deaths: int = 0
    start_at: float = 0.0
    check_at: float = 0.0
    missed: int = 0

    @property
    def dead(self) -> bool:
        """It has a process, and that has ended."""
        return self.process is not None and self.process.exitcode is not None


class ProcessManager:
    """Keeps worker processes running from `run` until SIGTERM or SIGINT."""

    def __init__(  # noqa: PLR0913 - what it connects
        self,
        workers: int,
        make: Make,
        alive: Callable[[int], bool],
        *,
        cores: tuple[frozenset[int], ...] | None = None,
        drain_seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """alive: asks a worker whether it lives. cores: those of each worker, or None.

        drain_seconds: how long a worker may take to answer what it has accepted.
        """
        self._places = tuple(_Place(index) for index in range(workers))
        self._make, self._alive, self._cores, self._now = make, alive, cores, now
        self._drain_seconds = drain_seconds
        self._signals: list[int] = []  # that have come and are not passed on yet
        self._served = False  # some worker has answered
        self._interrupted = False
        self._kill_at: float | None = None  # set once the workers were asked to end
        self._error: Exception | None = None

    def run(self) -> None:
        """Start all, and return when all have ended as asked; on the main thread, as signals come there.

        Raises `BadSetting` when a worker cannot start, or dies `DEATHS` times, before any has answered, and
        `KeyboardInterrupt` after Ctrl-C.
        """
        try:
            with self._taking_signals():
                while self._kill_at is None or self._processes:
                    self._step()
                    wait([process.sentinel for process in self._processes], TICK_SECONDS)
        finally:
            for process in self._processes:
                process.kill()
        if self._error is not None:
            raise self._error
        if self._interrupted:
            raise KeyboardInterrupt

    @property
    def _processes(self) -> list[BaseProcess]:
        """Those that run, or have ended and are not looked at yet."""
        return [place.process for place in self._places if place.process is not None]

    def _step(self) -> None:
        now = self._now()
        while self._signals:
            self._pass_on(self._signals.pop(0))
        for place in self._places:
            self._receive(place, now)
            if place.dead:
                self._ended(place, now)
            elif self._kill_at is not None:
                if place.process is not None and now >= self._kill_at:
                    place.process.kill()
            elif place.process is None:
                if now >= place.start_at and (self._served or place.index == 0):  # the rest join the first
                    self._start(place, now)
            elif now >= place.check_at:
                self._check(place, now)

    def _start(self, place: _Place, now: float) -> None:
        place.ready_at, place.error, place.missed, place.reload = None, None, 0, False
        reports, theirs = Pipe(duplex=False)
        try:
            process = self._make(place.index, theirs, joins=self._served)
            with _inherited(None if self._cores is None else self._cores[place.index]):
                process.start()
        except OSError as error:
            reports.close()
            self._again(place, now, f"worker process {place.index} cannot be started ({first_line(error)})")
        else:
            place.process, place.reports, place.check_at = process, reports, now + START_SECONDS
        finally:
            theirs.close()

    def _receive(self, place: _Place, now: float) -> None:
        """Take what the worker reports."""
        while place.reports is not None and place.reports.poll():
            try:
                place.error = place.reports.recv()
            except EOFError:
                place.reports.close()
                place.reports = None
            else:
                if place.error is None:
                    place.ready_at, place.check_at, self._served = now, now + CHECK_SECONDS, True
                    if place.reload:
                        self._send([place], signal.SIGHUP)

    def _ended(self, place: _Place, now: float) -> None:
        """Decide what follows a worker's end."""
        self._receive(place, now)
        process, place.process = place.process, None
        assert process is not None  # noqa: S101  it has ended
        process.join()
        if self._kill_at is None:
            why = f"worker process {place.index} (process {process.pid}) {_status(process.exitcode)}"
            self._again(place, now, why)

    def _again(self, place: _Place, now: float, why: str) -> None:
        """Start that worker again after its backoff, unless none has ever answered and none ever will."""
        steady = place.ready_at is not None and now - place.ready_at >= STEADY_SECONDS
        place.deaths = 1 if steady else place.deaths + 1
        if place.error is not None and not self._served:
            self._fail(place.error)
        elif place.deaths >= DEATHS and not self._served:
            self._fail(f"{why}, the third time before it answered: see what it wrote above")
        else:
            seconds = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** (place.deaths - 1))
            place.start_at = now + seconds
            log.error(
                "%s, and starts again in %.1f s%s", why, seconds, f": {place.error}" if place.error else ""
            )

    def _check(self, place: _Place, now: float) -> None:
        """Ask whether it lives; kill one that does not answer again and again."""
        place.missed = 0 if self._alive(place.index) else place.missed + 1
        place.check_at = now + CHECK_SECONDS
        if place.missed >= DEAD_CHECKS and place.process is not None:
            log.error("worker process %d does not answer and is killed", place.index)
            place.process.kill()

    def _fail(self, why: str) -> None:
        self._error = BadSetting(why)
        self._end()

    def _pass_on(self, signum: int) -> None:
        if signum != signal.SIGHUP:
            self._interrupted |= signum == signal.SIGINT
            self._end()
            return
        for place in self._places:
            if place.ready_at is None:  # it may have read the old files already, and no handler stands yet
                place.reload = True
            else:
                self._send([place], signal.SIGHUP)

    def _end(self) -> None:
        """Ask all to drain with SIGTERM; asked again, end them at once with SIGINT."""
        if self._kill_at is None:
            self._kill_at = self._now() + self._drain_seconds + KILL_SECONDS
            self._send(self._places, signal.SIGTERM)
        else:
            self._send(self._places, signal.SIGINT)

    @staticmethod
    def _send(places: Iterable[_Place], signum: int) -> None:
        for place in places:
            if place.process is not None and place.process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(place.process.pid, signum)

    @contextmanager
    def _taking_signals(self) -> Iterator[None]:
        """Within, signals are kept for the next step; SIGHUP is, unless it is ignored already (nohup)."""
        taken = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            taken.append(signal.SIGHUP)
        before = {each: signal.signal(each, lambda signum, _: self._signals.append(signum)) for each in taken}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


@contextmanager
def _inherited(cores: frozenset[int] | None) -> Iterator[None]:
    """Within, a process that starts gets these cores, and ignores Ctrl-C until it decides otherwise."""
    before = os.sched_getaffinity(0)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if cores:
            os.sched_setaffinity(0, cores)
        yield
    finally:
        os.sched_setaffinity(0, before)
        signal.signal(signal.SIGINT, handler)


def _status(code: int | None) -> str:
    return f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
