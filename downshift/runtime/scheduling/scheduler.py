"""The scheduler: thread-safe submission, one execution thread per executor, answers through futures.

Inline execution: the submitting thread runs a short request itself if an executor is idle, as two context
switches cost as much as a small network. Events are reported from here, not through a fan-out of their own: a
request passes few files.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec

from downshift.runtime.scheduling.observer import NullObserver
from downshift.runtime.scheduling.policy import LoadSnapshot
from downshift.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
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
    """Drives a `Core` from a thread for each executor. Every public method may be called from any thread.

    Background work is cooperative: while nothing waits or runs, the first thread runs it in short steps. A
    request that no other executor takes waits for the end of the step.
    """

    def __init__(
        self,
        core: Core,
        executors: Sequence[Executor],
        *,
        load: LoadSource,
        observers: Iterable[Observer] = (),
        supervisor: Supervisor | None = None,
    ) -> None:
        """executors: as many as the core was told; each has programs of its own.

        observers: receive every event, in this order. supervisor: is told if an execution thread dies.
        """
        self._core = core
        self._load = load
        observers = tuple(observers)
        self._accepted: _Listeners[[Request]] = _listeners(observers, "accepted")
        self._rejected: _Listeners[[Request, Exception]] = _listeners(observers, "rejected")
        self._started: _Listeners[[Batch]] = _listeners(observers, "started")
        self._finished: _Listeners[[Batch, float, Exception | None]] = _listeners(observers, "finished")
        self._settled: _Listeners[[Settled]] = _listeners(observers, "settled")
        self._improved: _Listeners[[float, str]] = _listeners(observers, "improved")
        self._unfit: _Listeners[[str, str]] = _listeners(observers, "unfit")
        self._retired: _Listeners[[str, str]] = _listeners(observers, "retired")
        self._changed = threading.Condition()  # guards the core and what follows
        self._stirred = False  # a request ran elsewhere since background work last looked
        self._background: Work[None] | None = None
        self._patience: float | None = None  # seconds without a request before a piece of it
        self._quiet_pieces = 0
        self._health = (supervisor or Supervisor()).enrol("executor")
        self._lanes = tuple(map(_Lane, range(len(executors)), executors))
        self._threads = tuple(
            threading.Thread(target=self._serve, args=(lane,), name="downshift-executor", daemon=True)
            for lane in self._lanes
        )

    def start(self, background: Work[None] | None = None) -> None:
        """Start the execution threads, with that background work for when nothing waits or runs."""
        self._background = background
        self._patience = None if background is None else 0.0
        for thread in self._threads:
            thread.start()

    def adopt(self, profile: Profile, programs: Sequence[Programs]) -> None:
        """Swap in this profile and these programs, for each executor its own: the last step of tuning.

        Only called by that work, on the first execution thread. An executor that runs a batch changes its
        programs before the next one, so never between a decision and its execution.
        """
        with self._changed:
            self._core.adopt(profile)
            for lane, better in zip(self._lanes, programs, strict=True):
                lane.successor = better, profile.batch_sizes[-1]
                if lane is self._lanes[0] or not lane.occupied:
                    lane.succeed()

    def progressed(self, fraction: float, text: str) -> None:
        """Report the progress of background work."""
        _tell(self._improved, fraction, text)

    def refused(self, subnet: str, engine: str) -> None:
        """Report a tuned program that failed the self-check and was not swapped in."""
        _tell(self._unfit, subnet, engine)

    def retired(self, subnet: str, engine: str) -> None:
        """Report a program that went out of service."""
        _tell(self._retired, subnet, engine)

    def replace(self, profile: Profile, programs: Sequence[Programs]) -> None:
        """Decide by this profile from now on, and run these programs, for each executor its own.

        Called by any thread: every executor takes them before its next decision.
        """
        with self._changed:
            self._core.adopt(profile)
            for lane, others in zip(self._lanes, programs, strict=True):
                lane.successor = others, profile.batch_sizes[-1]

    def give_up(self) -> None:
        """Refuse requests for good, fail those that wait, and count as dead: nothing can execute them."""
        self._health.died()
        self._abandon()

    def submit(self, request: Request, *, inline: bool = False) -> Future[Answer]:
        """The future of the request's answer; returns at once.

        inline: allow inline execution. If an executor is idle and the p99 is at most `INLINE_SECONDS`, the
        request runs on this thread, unless another executor is sooner, and the returned future is done.

        Raises instead, with nothing executed: `InvalidRequest`, `UnknownName` for a pin that does not
        exist, or a `Rejected`. The future raises `DeadlineExpired`, an `ExecutionFailed`, `Abandoned` when
        the time to drain ran out, or `concurrent.futures.CancelledError` after `cancel()`, which succeeds
        until execution begins; a cancelled request is never executed.
        """
        try:
            candidates = self._core.check(request)
            with self._changed:
                here = self._idle if inline and self._short(request, candidates) else None
                ticket = self._core.admit(request, candidates)
                if here is not None:
                    here.occupied = self._stirred = True
                else:
                    self._changed.notify_all()
        except Exception as error:
            _tell(self._rejected, request, error)
            raise
        _tell(self._accepted, request)
        ticket.future.add_done_callback(lambda future: self._done(future, ticket))
        if here is not None:
            self._run_inline(here)
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
        """Requests are accepted and every execution thread is alive."""
        return not self._core.draining and all(thread.is_alive() for thread in self._threads)

    def close(self, drain_seconds: float) -> None:
        """Drain: refuse new requests, finish the queue within that time, then fail the rest as `Abandoned`.

        Returns when the batches in execution, which nothing can interrupt, have ended too. May be called
        twice.
        """
        with self._changed:
            self._core.draining = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._core.queue, timeout=drain_seconds)
            abandoned = self._core.abandon()
            self._changed.notify_all()
        self._settle(abandoned)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._health.close()

    def _serve(self, lane: _Lane) -> None:
        try:
            while self._step(lane):
                pass
        except Exception:
            log.critical(STOPPED, exc_info=True)
            self._health.died()
        finally:
            self._abandon()
            if self._background is not None and lane is self._lanes[0]:
                self._background.close()

    def _step(self, lane: _Lane) -> bool:
        """Wait for a batch and run it, or a piece of background work; False when drained and closing."""
        core, first = self._core, lane is self._lanes[0]
        with self._changed:
            self._changed.wait_for(partial(self._called, lane), self._patience if first else None)
            if lane.occupied:  # by a request that runs inline
                if first:
                    self._quiet_pieces, self._patience = QUIET_PIECES, QUIET_SECONDS
                return True
            if not core.queue and core.draining:
                return False
            batch, dropped = self._take(lane) if core.queue else (None, [])
            busy = batch is not None or bool(dropped) or self._stirred
            busy = busy or any(other.occupied for other in self._lanes)
            lane.occupied, self._stirred = True, busy and not first
            self._changed.notify_all()
        self._settle(dropped)
        if batch is not None:
            self._execute(batch, lane)
        if first and self._background is not None:
            if busy:
                self._quiet_pieces, self._patience = QUIET_PIECES, QUIET_SECONDS
            else:
                self._advance(self._background)
        lane.occupied = False
        return True

    def _called(self, lane: _Lane) -> bool:
        """Whether the lane's thread has something to do, and no other thread uses its executor."""
        return not lane.occupied and (bool(self._core.queue) or self._core.draining)

    @property
    def _idle(self) -> _Lane | None:
        """An executor for the next request; the first, which has background work, comes last."""
        if self._core.queue:
            return None
        return next((lane for lane in reversed(self._lanes) if not lane.occupied), None)

    def _short(self, request: Request, candidates: tuple[str, ...]) -> bool:
        return self._core.profile.longest_bound(candidates, request.examples) <= INLINE_SECONDS

    def _run_inline(self, lane: _Lane) -> None:
        """Run what waits, usually the one request, on this thread; `occupied` keeps the lane's own away."""
        try:
            with self._changed:
                batch, dropped = self._take(lane) if self._core.queue else (None, [])
            self._settle(dropped)
            if batch is not None:
                self._execute(batch, lane)
        except Exception:
            log.critical(STOPPED, exc_info=True)
            self._health.died()
            self._abandon()
        finally:
            with self._changed:
                lane.occupied = False
                if self._called(lane):
                    self._changed.notify_all()

    def _abandon(self) -> None:
        """Refuse new requests and fail the queued ones."""
        with self._changed:
            self._core.draining = True
            abandoned = self._core.abandon()
            self._changed.notify_all()
        self._settle(abandoned)

    def _take(self, lane: _Lane) -> tuple[Batch | None, list[Settled]]:
        core, gpus = self._core, self._load.gpus
        lane.succeed()
        return core.take(
            LoadSnapshot(
                queued=len(core.queue),
                in_flight=core.in_flight,
                cpu_utilization=self._load.cpu_utilization,
                arrival_rate=core.arrival_rate,
                burstiness=core.burstiness,
                gpu_utilization=max([gpu.pressure for gpu in gpus]) if gpus else 0.0,
            ),
            lane.number,
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

    def _execute(self, batch: Batch, lane: _Lane) -> None:
        _tell(self._started, batch)
        attempts, settled = lane.executor.run(batch)
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


class _Lane:
    """An executor and who uses it; guarded by the scheduler's lock.

    occupied: some thread runs a batch on it, or a piece of background work. successor: programs that it is
    to use from the next batch on.
    """

    def __init__(self, number: int, executor: Executor) -> None:
        self.number, self.executor = number, executor
        self.occupied = False
        self.successor: tuple[Programs, int] | None = None

    def succeed(self) -> None:
        """Use the successor, if there is one."""
        if self.successor is not None:
            self.executor.adopt(*self.successor)
            self.successor = None


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
