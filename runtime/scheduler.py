"""The scheduler: requests in on any thread, one execution thread, answers out through futures."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

from runtime.load import LoadSnapshot
from runtime.observer import Silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from runtime.core import Core
    from runtime.execution import Executor
    from runtime.job import Ending, Job, Ticket
    from runtime.load import LoadSource
    from runtime.observer import Observer
    from runtime.request import Answer, Request

log = logging.getLogger(__name__)


class Scheduler:
    """Drives a `Core` from one dedicated thread. Every public method may be called from any thread."""

    def __init__(
        self, core: Core, executor: Executor, *, load: LoadSource, observer: Observer | None = None
    ) -> None:
        self._core = core
        self._executor = executor
        self._load = load
        self._observer: Observer = observer or Silent()
        self._changed = threading.Condition()  # guards the core
        self._thread = threading.Thread(target=self._serve, name="downshift-executor", daemon=True)

    def start(self) -> None:
        """Begin to execute."""
        self._thread.start()

    def submit(self, request: Request) -> Future[Answer]:
        """The future of the request's answer; returns at once.

        Raises instead, with nothing executed: `InvalidRequest`, `UnknownName` for a pin that does not
        exist, or a `Rejected`. The future raises `DeadlineExpired`, an `ExecutionFailed`, `Draining` when
        the time to drain ran out, or `concurrent.futures.CancelledError` after `cancel()`, which succeeds
        until execution begins; a cancelled request is never executed.
        """
        try:
            candidates = self._core.check(request)
            with self._changed:
                ticket = self._core.admit(request, candidates)
                self._changed.notify_all()
        except Exception as error:
            self._tell(partial(self._observer.rejected, request, error))
            raise
        self._tell(partial(self._observer.accepted, request))
        ticket.future.add_done_callback(lambda future: self._done(future, ticket))
        return ticket.future

    @property
    def queued(self) -> int:
        """Requests waiting now."""
        return len(self._core.queue)

    @property
    def in_flight(self) -> int:
        """Requests being executed now."""
        return self._core.in_flight

    @property
    def serving(self) -> bool:
        """Requests are accepted and the execution thread is alive."""
        return not self._core.draining and self._thread.is_alive()

    def close(self, drain_seconds: float) -> None:
        """Refuse new requests, finish what waits for at most that long, then fail the rest as `Draining`.

        Returns when the job in execution, which nothing can interrupt, has ended too. May be called twice.
        """
        with self._changed:
            self._core.draining = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._core.queue, timeout=drain_seconds)
            endings = self._core.abandon()
            self._changed.notify_all()
        self._settle(endings)
        if self._thread.ident is not None:
            self._thread.join()

    def _serve(self) -> None:
        try:
            while self._step():
                pass
        except Exception:  # a bug, of a policy perhaps: the server turns unready, and nobody waits for ever
            log.critical("the scheduler stopped", exc_info=True)
        finally:
            with self._changed:
                self._core.draining = True
                endings = self._core.abandon()
                self._changed.notify_all()
            self._settle(endings)

    def _step(self) -> bool:
        """Wait for work and do one job; False when there is none left and the scheduler is closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._core.queue or self._core.draining)
            if not self._core.queue:
                return False
            core = self._core
            load = LoadSnapshot(
                len(core.queue),
                core.in_flight,
                self._load.cpu_utilization,
                core.arrival_rate,
                core.burstiness,
                max((gpu.utilization for gpu in self._load.gpus), default=0.0),
            )
            job, endings = self._core.take(load)
            self._changed.notify_all()
        self._settle(endings)
        if job is not None:
            self._execute(job)
        return True

    def _execute(self, job: Job) -> None:
        self._tell(partial(self._observer.started, job.batch))
        runs, endings = self._executor.run(job)
        with self._changed:
            self._core.complete(job)
        for run in runs:
            self._tell(partial(self._observer.finished, run.job.batch, run.seconds, run.error))
        self._settle(endings)

    def _settle(self, endings: list[Ending]) -> None:
        for ending in endings:
            self._tell(partial(self._observer.settled, ending.event))
            ending.deliver()

    def _done(self, future: Future[Answer], ticket: Ticket) -> None:
        """Take a request out of the queue as soon as its client cancels it."""
        if not future.cancelled():
            return
        with self._changed:
            ending = self._core.cancel(ticket)
            self._changed.notify_all()
        if ending is not None:
            self._settle([ending])

    def _tell(self, event: Callable[[], None]) -> None:
        try:
            event()
        except Exception:
            log.exception("an observer failed")
