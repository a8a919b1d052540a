"""Thousands of schedules on a fake clock: whatever happens, every accepted request ends exactly once."""

from __future__ import annotations

import logging
import math
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from downshift.runtime.engines.programs import Programs
from downshift.runtime.errors import DeadlineExpired, Draining, EngineFailed, Rejected
from downshift.runtime.request import Answer, Outcome, Request
from downshift.runtime.scheduling.budget import BudgetPolicy
from downshift.runtime.scheduling.core import Core, Limits
from downshift.runtime.scheduling.execution import Executor
from downshift.runtime.scheduling.fixed import FixedPolicy
from downshift.runtime.scheduling.policy import LoadSnapshot
from tests.runtime.doubles import ACCURACY, ENGINE, SECONDS, FakeClock, FakeProgram, inputs, manifest, profile

if TYPE_CHECKING:
    from downshift.runtime.scheduling.lifecycle import Batch, Settled, Ticket

POISON = 666.0
QUEUE = 6


@dataclass(frozen=True)
class Demand:
    budget: float | None
    examples: int
    pin: str | None
    floor: float | None
    priority: int
    poisoned: bool


demands = st.builds(
    Demand,
    budget=st.one_of(st.none(), st.floats(-0.001, 0.08)),
    examples=st.integers(1, 6),
    pin=st.sampled_from([None, None, *ACCURACY]),
    floor=st.sampled_from([None, None, 0.7, 0.85]),
    priority=st.sampled_from([0, 0, 1]),
    poisoned=st.sampled_from([False, False, False, True]),
)


class Schedules(RuleBasedStateMachine):
    """Drives core and executor as the scheduler's thread would, one step at a time."""

    @initialize(
        policy=st.sampled_from([BudgetPolicy(margin=0.0), BudgetPolicy(), FixedPolicy("s90")]),
        marginal=st.sampled_from([0.1, 0.6, 1.0]),
        patience=st.sampled_from([math.inf, 0.02]),
        slowness=st.sampled_from([0.5, 1.0, 3.0]),
        executors=st.integers(1, 4),
    )
    def begin(
        self,
        policy: BudgetPolicy | FixedPolicy,
        marginal: float,
        patience: float,
        slowness: float,
        executors: int,
    ) -> None:
        self.clock = FakeClock()
        measured = profile(marginal=marginal)
        limits = Limits(queued=QUEUE, patience=patience, executors=executors)
        self.core = Core(manifest(), measured, policy, limits=limits, clock=self.clock)
        self.programs = {
            name: FakeProgram(self.clock, slowness * seconds, poison=POISON)
            for name, seconds in SECONDS.items()
        }
        by_subnet = {name: {ENGINE: program} for name, program in self.programs.items()}
        compiled = Programs(by_subnet, {ENGINE: "1"}, (), 1)
        self.executors = [
            Executor(manifest(), compiled, max_batch=4, clock=self.clock) for _ in range(executors)
        ]
        self.tickets: dict[float, Ticket] = {}  # by the value of their first example
        self.ended: dict[Ticket, Settled] = {}
        self.jobs: dict[int, Batch] = {}  # by the number of the executor that runs it

    def end(self, endings: list[Settled]) -> None:
        for ending in endings:
            assert ending.ticket not in self.ended, "a request ended twice"
            self.ended[ending.ticket] = ending
            ending.deliver()

    @rule(demand=demands)
    def submit(self, demand: Demand) -> None:
        first = float(len(self.tickets) + 1)
        rest = [POISON if demand.poisoned else 0.5] * (demand.examples - 1)
        deadline = None if demand.budget is None else self.clock.now() + demand.budget
        request = Request(
            inputs(first, *rest),
            deadline=deadline,
            subnet=demand.pin,
            min_accuracy=demand.floor,
            priority=demand.priority,
        )
        waiting = len(self.core.queue)
        try:
            ticket = self.core.admit(request, self.core.check(request))
        except Rejected:
            assert len(self.core.queue) == waiting, "a refused request left something behind"
        else:
            self.tickets[first] = ticket

    @rule(seconds=st.floats(0.0, 0.03))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), noticed=st.booleans())
    def cancel(self, data: st.DataObject, noticed: bool) -> None:
        ticket = data.draw(st.sampled_from(list(self.tickets.values())))
        if ticket.future.cancel() and noticed:  # not noticed: the executor came first
            ending = self.core.cancel(ticket)
            self.end([] if ending is None else [ending])

    @precondition(lambda self: len(self.jobs) < len(self.executors))
    @rule()
    def take(self) -> None:
        number = next(n for n in range(len(self.executors)) if n not in self.jobs)
        job, endings = self.core.take(LoadSnapshot(), number)
        self.end(endings)
        if job is None:
            assert not self.core.queue
        else:
            assert job.executor == number
            assert sum(t.examples for t in job.tickets) <= max(4, job.tickets[0].examples)
            self.jobs[number] = job

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        self.finish(data.draw(st.sampled_from(sorted(self.jobs))))

    def finish(self, number: int) -> None:
        job = self.jobs.pop(number)
        _, endings = self.executors[number].run(job)
        self.core.complete(job)
        assert [ending.ticket for ending in endings] == list(job.tickets)
        self.end(endings)

    @rule()
    def drain(self) -> None:
        self.core.draining = True

    @precondition(lambda self: self.core.draining)
    @rule()
    def abandon(self) -> None:
        self.end(self.core.abandon())

    @invariant()
    def every_request_is_in_exactly_one_place(self) -> None:
        waiting = set(self.core.queue)
        batches = [set(job.tickets) for job in self.jobs.values()]
        running = set().union(*batches)
        assert len(running) == sum(map(len, batches)), "two executors run the same request"
        assert not waiting & running
        assert not (waiting | running) & set(self.ended)
        assert waiting | running | set(self.ended) == set(self.tickets.values())
        assert len(self.core.queue) <= QUEUE
        assert self.core.in_flight == len(running)
        assert self.core.queue.examples == sum(ticket.examples for ticket in waiting)

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        for number in list(self.jobs):
            self.finish(number)
        while self.core.queue:
            self.take()
            for number in list(self.jobs):
                self.finish(number)
        executed = {value for program in self.programs.values() for run in program.batches for value in run}
        for first, ticket in self.tickets.items():
            self.check(first, ticket, self.ended[ticket], was_executed=first in executed)

    def check(self, first: float, ticket: Ticket, ending: Settled, was_executed: bool) -> None:
        """The outcome, what the client's future says, and what was executed all tell the same story."""
        future: Future[Answer] = ticket.future
        outcome, error = ending.outcome, ending.error
        assert future.done()
        if outcome is Outcome.CANCELLED:
            with pytest.raises(CancelledError):
                future.result(0)
            assert not was_executed
        elif outcome is Outcome.EXPIRED:
            assert isinstance(future.exception(0), DeadlineExpired)
            assert not was_executed
            assert ticket.deadline < math.inf
        elif outcome is Outcome.FAILED:
            assert future.exception(0) is error
            assert isinstance(error, EngineFailed if was_executed else Draining)
            if was_executed:
                assert POISON in ticket.request.inputs, "only the request that is the cause fails"
        else:
            answer = future.result(0)
            assert answer.outputs[0].tolist() == [first, -first], "an answer went to another request"
            assert len(answer.outputs) == ticket.examples
            assert answer.point.name in ticket.candidates
            assert ticket.request.subnet in (None, answer.point.name)
            assert (answer.point.accuracy or 0.0) >= (ticket.request.min_accuracy or 0.0)
            assert answer.late == (outcome is Outcome.LATE)


@pytest.fixture(autouse=True)
def no_log_of_poison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("downshift.runtime.scheduling.execution"), "disabled", True)


TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(max_examples=400, stateful_step_count=30)
