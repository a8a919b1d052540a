"""The scheduler: thread-safe submission, one execution thread, answers through futures.

Inline execution: the submitting thread runs a short request itself if the executor is idle, as two context
switches cost as much as a small network. Events are reported from here, not through a fan-out of their own: a
request passes few files.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, ParamSpec

from downshift.runtime.scheduling.observer import NullObserver
from downshift.runtime.scheduling.policy import LoadSnapshot
from downshift.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from downshift.runtime.background import Work
    from downshift.runtime.engines.programs import Programs
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.request import Answer, Request
    from downshift.runtime.scheduling.core import Core
    from downshift.runtime.scheduling.execution import Executor
    from downshift.runtime.scheduling.lifecycle import Batch, Settled, Ticket
    from downshift.runtime.scheduling.load import LoadSource
    from downshift.runtime.scheduling.observer import Observer

log = logging.getLogger(__name__)

Event = ParamSpec("Event")

QUIET_SECONDS = 0.02
"""Idle time after the last request before background work resumes."""
INLINE_SECONDS = 0.002
"""The longest p99 at which a request may run on its caller's thread, the server's event loop."""
STOPPED = "the scheduler stopped"
"""Logged after a bug, such as an exception in a policy: the server turns unready, queued requests fail."""
QUIET_PIECES = 50
"""Steps of background work that each wait `QUIET_SECONDS` after a batch, as arrivals are bursty."""


class Scheduler:
    """Drives a `Core` from one dedicated thread. Every public method may be called from any thread.

    Background work is cooperative: while the queue is empty, the thread runs it in short steps. A request
    that arrives during a step waits for its end.
    """

    def __init__(
        self,
        core: Core,
        executor: Executor,
        *,
        load: LoadSource,
        observers: Iterable[Observer] = (),
        supervisor: Supervisor | None = None,
    ) -> None:
        """observers: receive every event, in this order. supervisor: is told if the execution thread dies."""
        self._core = core
        self._executor = executor
        self._load = load
        observers = tuple(observers)
        self._accepted: _Listeners[[Request]] = _listeners(observers, "accepted")
        self._rejected: _Listeners[[Request, Exception]] = _listeners(observers, "rejected")
        self._started: _Listeners[[Batch]] = _listeners(observers, "started")
        self._finished: _Listeners[[Batch, float, Exception | None]] = _listeners(observers, "finished")
        self._settled: _Listeners[[Settled]] = _listeners(observers, "settled")
        self._improved: _Listeners[[float, str]] = _listeners(observers, "improved")
        self._unfit: _Listeners[[str, str]] = _listeners(observers, "unfit")
        self._changed = threading.Condition()  # guards the core and what follows
        self._occupied = False  # some thread runs a batch or a piece of background work
        self._stirred = False  # a request ran inline since background work last looked
        self._background: Work[None] | None = None
        self._patience: float | None = None  # seconds without a request before a piece of it
        self._quiet_pieces = 0
        self._health = (supervisor or Supervisor()).enrol("executor")
        self._thread = threading.Thread(target=self._serve, name="downshift-executor", daemon=True)

    def start(self, background: Work[None] | None = None) -> None:
        """Start the execution thread, with that background work for when the queue is empty."""
        self._background = background
        self._patience = None if background is None else 0.0
        self._thread.start()

    def adopt(self, profile: Profile, programs: Programs) -> None:
        """Swap in this profile and these programs: the last step of background tuning.

        Only called by that work, on the execution thread, so never between a decision and its execution.
        """
        with self._changed:
            self._core.adopt(profile)
            self._executor.adopt(programs, profile.batch_sizes[-1])

    def progressed(self, fraction: float, text: str) -> None:
        """Report the progress of background work."""
        _tell(self._improved, fraction, text)

    def refused(self, subnet: str, engine: str) -> None:
        """Report a tuned program that failed the self-check and was not swapped in."""
        _tell(self._unfit, subnet, engine)

    def submit(self, request: Request, *, inline: bool = False) -> Future[Answer]:
        """The future of the request's answer; returns at once.

        inline: allow inline execution. If the executor is idle and the p99 is at most `INLINE_SECONDS`, the
        request runs on this thread and the returned future is done.

        Raises instead, with nothing executed: `InvalidRequest`, `UnknownName` for a pin that does not
        exist, or a `Rejected`. The future raises `DeadlineExpired`, an `ExecutionFailed`, `Abandoned` when
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
            _tell(self._rejected, request, error)
            raise
        _tell(self._accepted, request)
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
        """The latency correction that decisions use: present over measured latency of a batch."""
        return self._core.slowdown

    @property
    def serving(self) -> bool:
        """Requests are accepted and the execution thread is alive."""
        return not self._core.draining and self._thread.is_alive()

    def close(self, drain_seconds: float) -> None:
        """Drain: refuse new requests, finish the queue within that time, then fail the rest as `Abandoned`.

        Returns when the batch in execution, which nothing can interrupt, has ended too. May be called twice.
        """
        with self._changed:
            self._core.draining = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._core.queue, timeout=drain_seconds)
            abandoned = self._core.abandon()
            self._changed.notify_all()
        self._settle(abandoned)
        if self._thread.ident is not None:
            self._thread.join()
        self._health.close()

    def _serve(self) -> None:
        try:
            while self._step():
                pass
        except Exception:
            log.critical(STOPPED, exc_info=True)
            self._health.died()
        finally:
            self._abandon()
            if self._background is not None:
                self._background.close()

    def _step(self) -> bool:
        """Wait for a batch and run it, or a piece of background work; False when drained and closing."""
        core = self._core
        with self._changed:
            self._changed.wait_for(self._called, self._patience)
            if self._occupied:  # by a request that runs inline
                self._quiet_pieces, self._patience = QUIET_PIECES, QUIET_SECONDS
                return True
            if not core.queue and core.draining:
                return False
            batch, dropped = self._take() if core.queue else (None, [])
            busy = batch is not None or bool(dropped) or self._stirred
            self._occupied, self._stirred = True, False
            self._changed.notify_all()
        self._settle(dropped)
        if batch is not None:
            self._execute(batch)
        if self._background is not None:
            if busy:
                self._quiet_pieces, self._patience = QUIET_PIECES, QUIET_SECONDS
            else:
                self._advance(self._background)
        self._occupied = False
        return True

    def _called(self) -> bool:
        """Whether the execution thread has something to do, and no other thread does it already."""
        return not self._occupied and (bool(self._core.queue) or self._core.draining)

    @property
    def _idle(self) -> bool:
        return not self._occupied and not self._core.queue

    def _short(self, request: Request, candidates: tuple[str, ...]) -> bool:
        return self._core.profile.longest_bound(candidates, request.examples) <= INLINE_SECONDS

    def _run_inline(self) -> None:
        """Take the one queued request and run it on this thread; `_occupied` keeps other threads away."""
        try:
            with self._changed:
                batch, dropped = self._take()
            self._settle(dropped)
            if batch is not None:
                self._execute(batch)
        except Exception:
            log.critical(STOPPED, exc_info=True)
            self._health.died()
            self._abandon()
        finally:
            with self._changed:
                self._occupied = False
                if self._called():
                    self._changed.notify_all()

    def _abandon(self) -> None:
        """Refuse new requests and fail the queued ones."""
        with self._changed:
            self._core.draining = True
            abandoned = self._core.abandon()
            self._changed.notify_all()
        self._settle(abandoned)

    def _take(self) -> tuple[Batch | None, list[Settled]]:
        core, gpus = self._core, self._load.gpus
        return core.take(
            LoadSnapshot(
                queued=len(core.queue),
                in_flight=core.in_flight,
                cpu_utilization=self._load.cpu_utilization,
                arrival_rate=core.arrival_rate,
                burstiness=core.burstiness,
                gpu_utilization=max([gpu.pressure for gpu in gpus]) if gpus else 0.0,
            )
        )

    def _advance(self, work: Work[None]) -> None:
        """Do one piece of background work; if it fails, the work is dropped and serving goes on."""
        try:
            rest = next(work)
            self._patience = max(rest, QUIET_SECONDS) if self._quiet_pieces else rest
            self._quiet_pieces = max(0, self._quiet_pieces - 1)
        except StopIteration:
            self._background = self._patience = None
        except Exception:
            log.exception("background work failed and is dropped; serving goes on")
            self._background = self._patience = None

    def _execute(self, batch: Batch) -> None:
        _tell(self._started, batch)
        attempts, settled = self._executor.run(batch)
        with self._changed:
            self._core.complete(batch)
        for attempt in attempts:
            _tell(self._finished, attempt.batch, attempt.seconds, attempt.error)
        self._settle(settled)

    def _settle(self, settled: Iterable[Settled]) -> None:
        for event in settled:
            _tell(self._settled, event)
            event.deliver()

    def _done(self, future: Future[Answer], ticket: Ticket) -> None:
        """Remove a request from the queue as soon as its client cancels it."""
        if not future.cancelled():
            return
        with self._changed:
            cancelled = self._core.cancel(ticket)
            self._changed.notify_all()
        if cancelled is not None:
            self._settle([cancelled])


_Listeners = tuple["Callable[Event, None]", ...]


def _listeners(observers: Iterable[Observer], event: str) -> tuple[Callable[..., None], ...]:
    """The observers' methods for one event, without those that only inherit `NullObserver`'s."""
    inherited: Any = getattr(NullObserver, event)
    return tuple(
        getattr(observer, event) for observer in observers if getattr(type(observer), event) is not inherited
    )


def _tell(listeners: _Listeners[Event], *event: Event.args, **more: Event.kwargs) -> None:
    """Report an event to each of its listeners; one that raises is logged and keeps it from nobody else."""
    for listener in listeners:
        try:
            listener(*event, **more)
        except Exception:
            log.exception("an observer failed")
