"""The request state machine of the scheduler, without threads, so that tests drive it with a fake clock."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from downshift.runtime.errors import Abandoned, AccuracyUnavailable, DeadlineExpired, Draining, InvalidRequest
from downshift.runtime.request import Outcome
from downshift.runtime.scheduling.dispatch import Dispatch
from downshift.runtime.scheduling.level import Thresholds
from downshift.runtime.scheduling.lifecycle import Batch, Settled, Ticket, unexecuted

if TYPE_CHECKING:
    from downshift.models.spec import Manifest
    from downshift.runtime.clock import Clock
    from downshift.runtime.errors import RuntimeFault
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.request import Request
    from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, Policy
    from downshift.runtime.scheduling.queue import EdfQueue


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Admission limits.

    queued: requests that may wait. examples: inputs in one request. executors: batches that run at once.
    patience: time-out in seconds of a request without a deadline. thresholds: of the load level that decides
    which sub-net answers such requests.
    """

    queued: int = 1024
    examples: int = 1024
    executors: int = 1
    patience: float = math.inf
    thresholds: Thresholds = field(default_factory=Thresholds)


class Core:
    """Admission, EDF queue, early drop and batching. Not thread-safe: `Scheduler` calls it under its lock.

    Invariant: every admitted ticket is settled exactly once, here if it leaves the queue without being
    executed, by `downshift.runtime.scheduling.execution` if it was part of a batch.
    """

    def __init__(
        self, manifest: Manifest, profile: Profile, policy: Policy, *, limits: Limits, clock: Clock
    ) -> None:
        self.draining = False
        self.in_flight = 0
        self._dispatch: Dispatch[Ticket] = Dispatch(
            profile,
            policy,
            capacity=limits.queued,
            executors=limits.executors,
            thresholds=limits.thresholds,
        )
        self._manifest = manifest
        self._limits = limits
        self._clock = clock
        self._free_at = [-math.inf] * limits.executors  # when each executor should be free

    @property
    def profile(self) -> Profile:
        """The profile used for decisions: as measured, times the latency correction."""
        return self._dispatch.profile

    @property
    def slowdown(self) -> float:
        """The latency correction: present over measured latency of a batch; 1 without evidence."""
        return self._dispatch.slowdown

    @property
    def arrival_rate(self) -> float:
        """Examples per second that arrive, refused ones included."""
        return self._dispatch.arrivals.at(self._clock.now())

    @property
    def burstiness(self) -> float:
        """Squared coefficient of variation of the gaps between recent arrivals."""
        return self._dispatch.arrivals.burstiness

    @property
    def queue(self) -> EdfQueue[Ticket]:
        """The queued tickets."""
        return self._dispatch.queue

    def adopt(self, profile: Profile) -> None:
        """Use another profile of the same sub-nets from now on."""
        self._dispatch.adopt(profile)

    def check(self, request: Request) -> tuple[str, ...]:
        """The candidates: names of the sub-nets that may answer, most accurate first; needs no lock.

        Raises `InvalidRequest`, `UnknownName`, `AccuracyUnavailable`.
        """
        if request.examples > self._limits.examples:
            raise InvalidRequest(
                f"{request.examples} examples in one request: send at most {self._limits.examples} at a time"
            )
        request.check(self._manifest.input)
        return candidates(request, self.profile)

    def admit(self, request: Request, candidates: tuple[str, ...]) -> Ticket:
        """Admission control: queues the request and returns its ticket, or raises a `Rejected`."""
        now = self._clock.now()
        if self.draining:
            raise Draining
        budgeted = request.deadline is not None
        due = now + self._limits.patience if request.deadline is None else request.deadline
        ticket = Ticket(
            arrival=now,
            deadline=due - request.delivery if budgeted else due,
            examples=request.examples,
            candidates=candidates,
            priority=request.priority,
            budgeted=budgeted,
            request=request,
            future=Future(),
            due=due,
        )
        refusal = self._dispatch.admit(ticket, now, min(self._free_at))
        if refusal is not None:
            raise refusal
        return ticket

    def take(self, load: LoadSnapshot, executor: int = 0) -> tuple[Batch | None, list[Settled]]:
        """The next batch, or None when the queue is empty; and the tickets that expired or were cancelled."""
        dropped: list[Settled] = []
        now = self._clock.now()
        while True:
            dropped += (
                self._end(ticket, Outcome.EXPIRED, DeadlineExpired(now - ticket.arrival), now)
                for ticket in self._dispatch.give_up(now)
            )
            if not self.queue:
                return None, dropped
            decision, claimed = self._dispatch.take(now, load)
            running = []
            for ticket in claimed:
                if ticket.future.set_running_or_notify_cancel():  # from now on it cannot be cancelled
                    running.append(ticket)
                else:
                    dropped.append(unexecuted(ticket, Outcome.CANCELLED, now))
            if running:
                return self._batch(tuple(running), decision, now, executor), dropped

    def complete(self, batch: Batch) -> None:
        """Account for an executed batch, successful or not."""
        self.in_flight -= len(batch.tickets)
        now = self._clock.now()
        self._dispatch.ran(batch.subnet, batch.examples, now - batch.started, now)
        self._free_at[batch.executor] = -math.inf

    def cancel(self, ticket: Ticket) -> Settled | None:
        """Remove a ticket whose future was cancelled; None when it has left the queue already."""
        if not self.queue.remove(ticket):
            return None
        return unexecuted(ticket, Outcome.CANCELLED, self._clock.now())

    def abandon(self) -> list[Settled]:
        """Fail everything in the queue."""
        now = self._clock.now()
        tickets = tuple(self.queue)
        for ticket in tickets:
            self.queue.remove(ticket)
        return [self._end(ticket, Outcome.FAILED, Abandoned(), now) for ticket in tickets]

    def _batch(self, tickets: tuple[Ticket, ...], decision: Decision, now: float, executor: int) -> Batch:
        latency = self.profile[decision.subnet]
        examples = sum(ticket.examples for ticket in tickets)
        expected = latency.typical(examples)
        self.in_flight += len(tickets)
        self._free_at[executor] = now + expected
        return Batch(
            tickets=tickets,
            examples=examples,
            subnet=decision.subnet,
            engine=latency.engine(examples),
            reason=decision.reason,
            started=now,
            expected_seconds=expected,
            executor=executor,
        )

    def _end(self, ticket: Ticket, outcome: Outcome, error: RuntimeFault, now: float) -> Settled:
        """Settle a ticket that has left the queue; as cancelled, if the client cancelled first."""
        if not ticket.future.set_running_or_notify_cancel():
            return unexecuted(ticket, Outcome.CANCELLED, now)
        return unexecuted(ticket, outcome, now, error)


def candidates(request: Request, profile: Profile) -> tuple[str, ...]:
    """Names of the sub-nets that may answer, most accurate first.

    Raises `UnknownName` for a pin that does not exist, `AccuracyUnavailable` when the floor rules all out.
    """
    names = profile.choices if request.subnet is None else (profile[request.subnet].name,)
    floor = request.min_accuracy
    if floor is None:
        return names
    known = {name: accuracy for name in names if (accuracy := profile[name].accuracy) is not None}
    good = tuple(name for name, accuracy in known.items() if accuracy >= floor)
    if not good:
        raise AccuracyUnavailable(floor, max(known.values(), default=None))
    return good
