"""The scheduler's core: every decision about requests, without threads, so that a fake clock can drive it."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from downshift.runtime.errors import DeadlineExpired, Draining, InvalidRequest
from downshift.runtime.scheduling import admission
from downshift.runtime.scheduling.dispatch import Dispatch
from downshift.runtime.scheduling.job import Ending, Job, Ticket, unexecuted
from downshift.runtime.scheduling.level import Thresholds
from downshift.runtime.scheduling.observer import Outcome

if TYPE_CHECKING:
    from downshift.models.spec import Manifest
    from downshift.runtime.clock import Clock
    from downshift.runtime.errors import RuntimeFault
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.request import Request
    from downshift.runtime.scheduling.load import LoadSnapshot
    from downshift.runtime.scheduling.policy import Decision, Policy
    from downshift.runtime.scheduling.queue import EdfQueue


@dataclass(frozen=True)
class Limits:
    """What the queue accepts.

    queued: requests that may wait. examples: inputs in one request.
    patience: seconds after which a request without a deadline is given up; until then it is answered by the
    most accurate sub-net, or under load by a sparser one. thresholds: what counts as load.
    """

    queued: int = 1024
    examples: int = 1024
    patience: float = math.inf
    thresholds: Thresholds = field(default_factory=Thresholds)


class Core:
    """Admits, orders, drops and batches requests. Not thread-safe: `Scheduler` calls it under its lock.

    Every ticket admitted ends in exactly one `Ending`: returned here when it leaves the queue without being
    run, made by `downshift.runtime.scheduling.execution` when it was part of a job.
    """

    def __init__(
        self, manifest: Manifest, profile: Profile, policy: Policy, *, limits: Limits, clock: Clock
    ) -> None:
        self.draining = False
        self.in_flight = 0
        self._dispatch: Dispatch[Ticket] = Dispatch(
            profile, policy, capacity=limits.queued, thresholds=limits.thresholds
        )
        self._manifest = manifest
        self._limits = limits
        self._clock = clock
        self._busy_until = -math.inf

    @property
    def profile(self) -> Profile:
        """What decisions rest on."""
        return self._dispatch.profile

    @property
    def slowdown(self) -> float:
        """How many times as long as measured batches take at present; 1 where nothing says otherwise."""
        return self._dispatch.slowdown

    @property
    def arrival_rate(self) -> float:
        """Examples per second that arrive, those refused included."""
        return self._dispatch.arrivals.at(self._clock.now())

    @property
    def burstiness(self) -> float:
        """Squared coefficient of variation of the gaps between recent arrivals."""
        return self._dispatch.arrivals.burstiness

    @property
    def queue(self) -> EdfQueue[Ticket]:
        """The tickets that wait."""
        return self._dispatch.queue

    def adopt(self, profile: Profile) -> None:
        """Decide by another profile of the same sub-nets from now on."""
        self._dispatch.adopt(profile)

    def check(self, request: Request) -> tuple[str, ...]:
        """The sub-nets that may answer; reads only what never changes, so it needs no lock.

        Raises `InvalidRequest`, `UnknownName`, `AccuracyUnavailable`.
        """
        if request.examples > self._limits.examples:
            raise InvalidRequest(
                f"{request.examples} examples in one request: send at most {self._limits.examples} at a time"
            )
        admission.check(request, self._manifest.input)
        return admission.candidates(request, self._manifest, self.profile)

    def admit(self, request: Request, candidates: tuple[str, ...]) -> Ticket:
        """The ticket of the request, now queued; raises a `Rejected` when it cannot be served in time."""
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
        refusal = self._dispatch.admit(ticket, now, self._busy_until)
        if refusal is not None:
            raise refusal
        return ticket

    def take(self, load: LoadSnapshot) -> tuple[Job | None, list[Ending]]:
        """The next job, or None when nothing waits; and the endings of tickets dropped on the way."""
        endings: list[Ending] = []
        now = self._clock.now()
        while True:
            endings += (
                self._end(ticket, Outcome.EXPIRED, DeadlineExpired(now - ticket.arrival), now)
                for ticket in self._dispatch.give_up(now)
            )
            if not self.queue:
                return None, endings
            decision, claimed = self._dispatch.take(now, load)
            running = []
            for ticket in claimed:
                if ticket.future.set_running_or_notify_cancel():  # from now on it cannot be cancelled
                    running.append(ticket)
                else:
                    endings.append(unexecuted(ticket, Outcome.CANCELLED, now))
            if running:
                return self._job(tuple(running), decision, now), endings

    def complete(self, job: Job) -> None:
        """The job has been run, well or not."""
        self.in_flight -= len(job.tickets)
        now = self._clock.now()
        self._dispatch.ran(job.subnet, job.examples, now - job.started, now)
        self._busy_until = -math.inf

    def cancel(self, ticket: Ticket) -> Ending | None:
        """The ending of a ticket whose future was cancelled; None when it has left the queue already."""
        if not self.queue.remove(ticket):
            return None
        return unexecuted(ticket, Outcome.CANCELLED, self._clock.now())

    def abandon(self) -> list[Ending]:
        """Empty the queue: nothing that waits will be run any more."""
        now = self._clock.now()
        tickets = tuple(self.queue)
        for ticket in tickets:
            self.queue.remove(ticket)
        return [self._end(ticket, Outcome.FAILED, Draining(), now) for ticket in tickets]

    def _job(self, tickets: tuple[Ticket, ...], decision: Decision, now: float) -> Job:
        latency = self.profile[decision.subnet]
        examples = sum(ticket.examples for ticket in tickets)
        expected = latency.typical(examples)
        self.in_flight += len(tickets)
        self._busy_until = now + expected
        return Job(tickets, decision.subnet, latency.engine(examples), decision.reason, now, expected)

    def _end(self, ticket: Ticket, outcome: Outcome, error: RuntimeFault, now: float) -> Ending:
        """The ending of a ticket that has left the queue: cancelled, if its client was faster."""
        if not ticket.future.set_running_or_notify_cancel():
            return unexecuted(ticket, Outcome.CANCELLED, now)
        return unexecuted(ticket, outcome, now, error)
