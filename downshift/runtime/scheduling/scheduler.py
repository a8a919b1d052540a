"""The scheduler: requests in on any thread, one execution thread, answers out through futures.

A thread that has nothing else to do may run its own request, where that is short: waking another thread and
being woken by it costs as much as running a small network.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

from downshift.runtime.scheduling.load import LoadSnapshot
from downshift.runtime.scheduling.observer import Silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from downshift.runtime.background import Work
    from downshift.runtime.engines.programs import Programs
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.request import Answer, Request
    from downshift.runtime.scheduling.core import Core
    from downshift.runtime.scheduling.execution import Executor
    from downshift.runtime.scheduling.job import Ending, Job, Ticket
    from downshift.runtime.scheduling.load import LoadSource
    from downshift.runtime.scheduling.observer import Observer

log = logging.getLogger(__name__)


QUIET_SECONDS = 0.02
"""How long nothing must have been asked for before the execution thread turns to background work."""
INLINE_SECONDS = 0.002
"""What a request may take at most, by its p99, to be run on the thread that brings it."""
STOPPED = "the scheduler stopped"
"""What a bug leads to, of a policy perhaps: the server turns unready, and nobody waits for ever."""
SHY_PIECES = 50
"""After a job, that many pieces of background work rest as long before the next: others use the machine."""


class Scheduler:
    """Drives a `Core` from one dedicated thread. Every public method may be called from any thread.

    That thread also does background work, a piece at a time, while nothing waits: a request that comes in
    the middle of a piece waits for its end, and no piece is begun before things are quiet again.
    """

    def __init__(
        self, core: Core, executor: Executor, *, load: LoadSource, observer: Observer | None = None
    ) -> None:
        self._core = core
        self._executor = executor
        self._load = load
        self._observer: Observer = observer or Silent()
        self._changed = threading.Condition()  # guards the core and what follows
        self._occupied = False  # some thread runs a job or does a piece of background work
        self._stirred = False  # a request was run inline since background work last looked
        self._background: Work[None] | None = None
        self._patience: float | None = None  # seconds to wait for a request before a piece of it
        self._shy = 0
        self._thread = threading.Thread(target=self._serve, name="downshift-executor", daemon=True)

    def start(self, background: Work[None] | None = None) -> None:
        """Begin to execute; and, whenever nothing waits, to do that work."""
        self._background = background
        self._patience = None if background is None else 0.0
        self._thread.start()

    def adopt(self, profile: Profile, programs: Programs) -> None:
        """Decide by this profile and run these programs from now on: what background work ends with.

        Called by that work alone, on the execution thread: no job is between its decision and its run.
        """
        with self._changed:
            self._core.adopt(profile)
            self._executor.adopt(programs, profile.batch_sizes[-1])

    def progressed(self, fraction: float, text: str) -> None:
        """Background work has come that far."""
        self._tell(partial(self._observer.improved, fraction, text))

    def refused(self, subnet: str, engine: str) -> None:
        """Background work found a program that computes something else, and left things as they were."""
        self._tell(partial(self._observer.unfit, subnet, engine))

    def submit(self, request: Request, *, inline: bool = False) -> Future[Answer]:
        """The future of the request's answer; returns at once.

        inline: the calling thread has nothing better to do than to wait for the answer. Then, when the
        engine is idle and the run is sure to be short, it is done here and the future comes back done.

        Raises instead, with nothing executed: `InvalidRequest`, `UnknownName` for a pin that does not
        exist, or a `Rejected`. The future raises `DeadlineExpired`, an `ExecutionFailed`, `Draining` when
        the time to drain ran out, or `concurrent.futures.CancelledError` after `cancel()`, which succeeds
        until execution begins; a cancelled request is never executed.
        """
        try:
            candidates = self._core.check(request)
            with self._changed:
                here = inline and self._idle and self._short(request, candidates)
                ticket = self._core.admit(request, candidates)
                if here:
                    self._occupied = self._stirred = True
                else:
                    self._changed.notify_all()
        except Exception as error:
            self._tell(partial(self._observer.rejected, request, error))
            raise
        self._tell(partial(self._observer.accepted, request))
        ticket.future.add_done_callback(lambda future: self._done(future, ticket))
        if here:
            self._run_inline()
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
    def slowdown(self) -> float:
        """How many times as long as measured batches take at present, as decisions have it."""
        return self._core.slowdown

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
        except Exception:
            log.critical(STOPPED, exc_info=True)
        finally:
            self._abandon()
            if self._background is not None:
                self._background.close()

    def _step(self) -> bool:
        """Wait for a job and do it, or a piece of other work; False when no job is left and it is closing."""
        core = self._core
        with self._changed:
            self._changed.wait_for(self._called, self._patience)
            if self._occupied:  # by a request that is run inline
                self._shy, self._patience = SHY_PIECES, QUIET_SECONDS
                return True
            if not core.queue and core.draining:
                return False
            job, endings = self._take() if core.queue else (None, [])
            busy = job is not None or bool(endings) or self._stirred
            self._occupied, self._stirred = True, False
            self._changed.notify_all()
        self._settle(endings)
        if job is not None:
            self._execute(job)
        if self._background is not None:
            if busy:
                self._shy, self._patience = SHY_PIECES, QUIET_SECONDS
            else:
                self._advance(self._background)
        self._occupied = False
        return True

    def _called(self) -> bool:
        """Whether the execution thread has something to do, and nobody does it already."""
        return not self._occupied and (bool(self._core.queue) or self._core.draining)

    @property
    def _idle(self) -> bool:
        return not self._occupied and not self._core.queue

    def _short(self, request: Request, candidates: tuple[str, ...]) -> bool:
        return self._core.profile.longest_bound(candidates, request.examples) <= INLINE_SECONDS

    def _run_inline(self) -> None:
        """Take the one request that waits, and run it on this thread; `_occupied` keeps others away."""
        try:
            with self._changed:
                job, endings = self._take()
            self._settle(endings)
            if job is not None:
                self._execute(job)
        except Exception:
            log.critical(STOPPED, exc_info=True)
            self._abandon()
        finally:
            with self._changed:
                self._occupied = False
                if self._called():
                    self._changed.notify_all()

    def _abandon(self) -> None:
        """Refuse whatever comes, and fail what waits."""
        with self._changed:
            self._core.draining = True
            endings = self._core.abandon()
            self._changed.notify_all()
        self._settle(endings)

    def _take(self) -> tuple[Job | None, list[Ending]]:
        core = self._core
        return core.take(
            LoadSnapshot(
                len(core.queue),
                core.in_flight,
                self._load.cpu_utilization,
                core.arrival_rate,
                core.burstiness,
                max((gpu.utilization for gpu in self._load.gpus), default=0.0),
            )
        )

    def _advance(self, work: Work[None]) -> None:
        """Do a piece of background work; when it fails, serving goes on as it is."""
        try:
            rest = next(work)
            self._patience = max(rest, QUIET_SECONDS) if self._shy else rest
            self._shy = max(0, self._shy - 1)
        except StopIteration:
            self._background = self._patience = None
        except Exception:
            log.exception("work in the background failed and is given up; serving goes on")
            self._background = self._patience = None

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
