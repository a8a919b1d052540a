"""The scheduler's core: every decision about requests, without threads, so that a fake clock can drive it."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime import admission
from runtime.errors import (
    DeadlineExpired,
    DeadlineImpossible,
    Draining,
    InvalidRequest,
    Overloaded,
    QueueFull,
)
from runtime.job import Ending, Job, Ticket, unexecuted
from runtime.observer import Outcome
from runtime.queue import EdfQueue

if TYPE_CHECKING:
    from models.spec import Manifest
    from runtime.clock import Clock
    from runtime.errors import RuntimeFault
    from runtime.load import LoadSnapshot
    from runtime.policy import Decision, Policy, Waiting
    from runtime.profile import Profile
    from runtime.request import Request


@dataclass(frozen=True)
class Limits:
    """What the queue accepts.

    queued: requests that may wait. examples: inputs in one request.
    default_budget: seconds granted to a request without a deadline; None lets it wait and be answered by
    the most accurate sub-net.
    """

    queued: int = 1024
    examples: int = 1024
    default_budget: float | None = None


class Core:
    """Admits, orders, drops and batches requests. Not thread-safe: `Scheduler` calls it under its lock.

    Every ticket admitted ends in exactly one `Ending`: returned here when it leaves the queue without being
    run, made by `runtime.execution` when it was part of a job.
    """

    def __init__(
        self, manifest: Manifest, profile: Profile, policy: Policy, *, limits: Limits, clock: Clock
    ) -> None:
        self.profile = profile
        self.draining = False
        self.queue: EdfQueue[Ticket] = EdfQueue()
        self.in_flight = 0
        self._manifest = manifest
        self._policy = policy
        self._limits = limits
        self._clock = clock
        self._busy_until = -math.inf

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
        deadline = request.deadline
        if deadline is None:
            deadline = math.inf if self._limits.default_budget is None else now + self._limits.default_budget
        ticket = Ticket(
            arrival=now,
            deadline=deadline,
            examples=request.examples,
            candidates=candidates,
            priority=request.priority,
            request=request,
            future=Future(),
        )
        needed = min(self.profile[name].bound(ticket.examples) for name in candidates)
        if now + needed > deadline:
            raise DeadlineImpossible(deadline - now, needed)
        if len(self.queue) >= self._limits.queued:
            raise QueueFull(self._limits.queued, self._work_ahead(now, self.queue.examples))
        wait = self._work_ahead(now, self.queue.examples_before(deadline, ticket.priority))
        if now + wait + needed > deadline:
            raise Overloaded(deadline - now, wait)
        self.queue.push(ticket)
        return ticket

    def take(self, load: LoadSnapshot) -> tuple[Job | None, list[Ending]]:
        """The next job, or None when nothing waits; and the endings of tickets dropped on the way."""
        endings: list[Ending] = []
        now = self._clock.now()
        while self.queue:
            head = self.queue.head
            if head.deadline < now + self._soonest(head):
                error = DeadlineExpired(now - head.arrival)
                endings.append(self._end(head, Outcome.EXPIRED, error, now))
                continue
            decision = self._policy.decide(self.queue.view(now), load, self.profile)
            tickets = self._claim(decision.subnet, decision.batch_size, now, endings)
            if tickets:
                return self._job(tickets, decision, now), endings
        return None, endings

    def complete(self, job: Job) -> None:
        """The job has been run, well or not."""
        self.in_flight -= len(job.tickets)
        self._busy_until = -math.inf

    def cancel(self, ticket: Ticket) -> Ending | None:
        """The ending of a ticket whose future was cancelled; None when it has left the queue already."""
        if not self.queue.remove(ticket):
            return None
        return unexecuted(ticket, Outcome.CANCELLED, self._clock.now())

    def abandon(self) -> list[Ending]:
        """Empty the queue: nothing that waits will be run any more."""
        now = self._clock.now()
        return [self._end(ticket, Outcome.FAILED, Draining(), now) for ticket in tuple(self.queue)]

    def _claim(self, subnet: str, batch_size: int, now: float, endings: list[Ending]) -> tuple[Ticket, ...]:
        """Take the head, and others that the sub-net may answer up to the batch size, out of the queue.

        A claimed ticket can be cancelled no more. Empty when the head was cancelled just now.
        """
        claimed: list[Ticket] = []
        examples = 0
        for ticket in tuple(self.queue):
            fits = not claimed or (subnet in ticket.candidates and examples + ticket.examples <= batch_size)
            if not fits:
                continue
            self.queue.remove(ticket)
            if not ticket.future.set_running_or_notify_cancel():
                endings.append(unexecuted(ticket, Outcome.CANCELLED, now))
                if not claimed:
                    break
                continue
            claimed.append(ticket)
            examples += ticket.examples
            if examples >= batch_size:
                break
        return tuple(claimed)

    def _job(self, tickets: tuple[Ticket, ...], decision: Decision, now: float) -> Job:
        latency = self.profile[decision.subnet]
        examples = sum(ticket.examples for ticket in tickets)
        expected = latency.typical(examples)
        self.in_flight += len(tickets)
        self._busy_until = now + expected
        return Job(tickets, decision.subnet, latency.engine(examples), decision.reason, now, expected)

    def _end(self, ticket: Ticket, outcome: Outcome, error: RuntimeFault, now: float) -> Ending:
        """Take the ticket out of the queue for good; if its client was faster, it counts as cancelled."""
        self.queue.remove(ticket)
        if not ticket.future.set_running_or_notify_cancel():
            return unexecuted(ticket, Outcome.CANCELLED, now)
        return unexecuted(ticket, outcome, now, error)

    def _soonest(self, waiting: Waiting) -> float:
        """p50 seconds of the fastest sub-net that may answer: sooner is not to be expected."""
        return min(self.profile[name].typical(waiting.examples) for name in waiting.candidates)

    def _work_ahead(self, now: float, examples: int) -> float:
        """Seconds until the running job and then that many examples are done, at the least."""
        return max(0.0, self._busy_until - now) + examples * self.profile.floor
