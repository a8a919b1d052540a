from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from downshift.runtime.errors import (
    DeadlineExpired,
    DeadlineImpossible,
    Draining,
    InvalidRequest,
    Overloaded,
    QueueFull,
)
from downshift.runtime.request import Outcome, Request
from downshift.runtime.scheduling.budget import BudgetPolicy
from downshift.runtime.scheduling.core import Core, Limits
from downshift.runtime.scheduling.fixed import FixedPolicy
from downshift.runtime.scheduling.policy import LoadSnapshot
from tests.runtime.doubles import FakeClock, inputs, manifest, profile

if TYPE_CHECKING:
    from downshift.runtime.scheduling.lifecycle import Batch, Settled, Ticket

IDLE = LoadSnapshot()
LAX = BudgetPolicy(margin=0.0)
NAMES = ("s50", "s90", "s98")


def make(
    clock: FakeClock,
    policy: BudgetPolicy | FixedPolicy = LAX,
    *,
    marginal: float = 1.0,
    tail: float = 1.0,
    **limits: float,
) -> Core:
    measured = profile(marginal=marginal, tail=tail)
    return Core(manifest(), measured, policy, limits=Limits(**limits), clock=clock)  # type: ignore[arg-type]


def admit(
    core: Core,
    deadline: float | None = None,
    *,
    examples: int = 1,
    candidates: tuple[str, ...] = NAMES,
    priority: int = 0,
) -> Ticket:
    request = Request(inputs(*[1.0] * examples), deadline=deadline, priority=priority)
    return core.admit(request, candidates)


def take(core: Core) -> Batch:
    job, endings = core.take(IDLE)
    assert job is not None
    assert endings == []
    return job


def outcomes(endings: list[Settled]) -> list[tuple[Ticket, Outcome]]:
    return [(ending.ticket, ending.outcome) for ending in endings]


def test_an_empty_queue_gives_no_job() -> None:
    assert make(FakeClock()).take(IDLE) == (None, [])


def test_a_request_becomes_a_job_with_the_policys_choice() -> None:
    clock = FakeClock()
    core = make(clock)
    ticket = admit(core, clock.time + 0.005)
    job = take(core)
    assert job.tickets == (ticket,)
    assert (job.subnet, job.engine, job.reason) == ("s90", "fake", "slack")
    assert (job.started, job.expected_seconds) == (clock.time, 0.004)
    assert (len(core.queue), core.in_flight) == (0, 1)
    core.complete(job)
    assert core.in_flight == 0


def test_the_earliest_deadline_is_served_first() -> None:
    clock = FakeClock()
    core = make(clock)
    without, late, early = admit(core), admit(core, clock.time + 9), admit(core, clock.time + 8)
    assert [take(core).tickets for _ in range(3)] == [(early,), (late,), (without,)]


def test_decisions_leave_time_for_delivery() -> None:
    clock = FakeClock()
    core = make(clock)
    with pytest.raises(DeadlineImpossible, match=r"0.5 ms are left"):
        core.admit(Request(inputs(1.0), deadline=clock.time + 0.0025, delivery=0.002), NAMES)
    ticket = core.admit(Request(inputs(1.0), deadline=clock.time + 0.005, delivery=0.002), NAMES)
    assert ticket.due - ticket.deadline == pytest.approx(0.002)
    assert take(core).subnet == "s98"
    unhurried = core.admit(Request(inputs(1.0), delivery=0.002), NAMES)
    assert unhurried.deadline == unhurried.due == math.inf


def test_a_budget_below_the_fastest_sub_nets_p99_is_refused_before_anything_runs() -> None:
    clock = FakeClock()
    core = make(clock, tail=2.0)
    with pytest.raises(DeadlineImpossible, match=r"1.5 ms are left of the latency budget.*needs 2 ms"):
        admit(core, clock.time + 0.0015)
    admit(core, clock.time + 0.0021)
    with pytest.raises(DeadlineImpossible, match=r"9 ms are left.*needs 20 ms"):
        admit(core, clock.time + 0.009, candidates=("s50",))
    with pytest.raises(DeadlineImpossible, match=r"^0 ms are left"):
        admit(core, clock.time - 1.0)
    assert len(core.queue) == 1


def test_a_budget_that_the_work_ahead_uses_up_is_shed_with_the_time_to_wait() -> None:
    clock = FakeClock()
    core = make(clock)
    for _ in range(9):
        admit(core, clock.time + 0.0095)
    with pytest.raises(Overloaded, match=r"9.5 ms are left.*at least 9 ms") as caught:
        admit(core, clock.time + 0.0095)
    assert caught.value.retry_after == pytest.approx(0.009)
    admit(core, clock.time + 0.005, priority=1)
    assert len(core.queue) == 10


def test_the_running_job_is_work_ahead_until_it_should_have_ended() -> None:
    clock = FakeClock()
    core = make(clock)
    admit(core)
    job = take(core)
    assert job.subnet == "s50"
    clock.advance(0.004)
    with pytest.raises(Overloaded, match="at least 6 ms"):
        admit(core, clock.time + 0.0065)
    admit(core, clock.time + 0.0075)
    core.complete(job)
    admit(core, clock.time + 0.0025)


def test_a_full_queue_refuses_and_says_when_to_retry() -> None:
    core = make(FakeClock(), queued=2)
    admit(core, examples=3)
    admit(core)
    with pytest.raises(QueueFull, match=r"limit of 2 requests; retry in 0.004 s") as caught:
        admit(core)
    assert caught.value.retry_after == pytest.approx(0.004)


def test_a_request_of_too_many_examples_is_refused() -> None:
    core = make(FakeClock(), examples=2)
    with pytest.raises(InvalidRequest, match="3 examples in one request: send at most 2"):
        core.check(Request(inputs(1.0, 2.0, 3.0)))
    assert core.check(Request(inputs(1.0, 2.0), subnet="s90")) == ("s90",)


def test_a_draining_core_admits_nothing_but_works_off_what_it_has() -> None:
    core = make(FakeClock())
    ticket = admit(core)
    core.draining = True
    with pytest.raises(Draining):
        admit(core)
    assert take(core).tickets == (ticket,)


def test_a_request_without_a_budget_is_given_up_only_when_patience_ends() -> None:
    clock = FakeClock()
    core = make(clock, patience=0.05)
    patient, budgeted = admit(core), admit(core, clock.time + 9.0)
    assert (patient.deadline, patient.budgeted) == (clock.time + 0.05, False)
    assert (budgeted.deadline, budgeted.budgeted) == (clock.time + 9.0, True)
    assert admit(make(clock)).deadline == math.inf
    clock.advance(0.05)
    job, endings = core.take(IDLE)
    assert job is not None
    assert job.tickets == (budgeted,)
    assert outcomes(endings) == [(patient, Outcome.EXPIRED)]


def test_patience_is_no_slack_that_arrivals_could_use_up() -> None:
    """A budget that near would be spent carefully at this rate; patience is answered as well as can be."""
    clock = FakeClock()
    busy = LoadSnapshot(arrival_rate=990.0)
    core = make(clock, patience=0.02)
    admit(core)
    job, _ = core.take(busy)
    assert job is not None
    assert (job.subnet, job.reason) == ("s50", "accurate")
    core.complete(job)
    admit(core, clock.time + 0.02)
    job, _ = core.take(busy)
    assert job is not None
    assert job.subnet != "s50"


def test_what_even_the_fastest_sub_net_cannot_save_is_dropped_unexecuted() -> None:
    clock = FakeClock()
    core = make(clock)
    hopeless, savable = admit(core, clock.time + 0.002), admit(core, clock.time + 0.004)
    clock.advance(0.0025)
    job, endings = core.take(IDLE)
    assert job is not None
    assert job.tickets == (savable,)
    assert outcomes(endings) == [(hopeless, Outcome.EXPIRED)]
    assert isinstance(endings[0].error, DeadlineExpired)
    assert str(endings[0].error).startswith("deadline expired after 2.5 ms in the queue")
    assert endings[0].queue_seconds == pytest.approx(0.0025)


def test_a_pinned_request_is_dropped_by_the_time_of_its_own_sub_net() -> None:
    clock = FakeClock()
    core = make(clock)
    ticket = admit(core, clock.time + 0.012, candidates=("s50",))
    clock.advance(0.005)
    assert outcomes(core.take(IDLE)[1]) == [(ticket, Outcome.EXPIRED)]


def test_a_cancelled_request_never_becomes_part_of_a_job() -> None:
    core = make(FakeClock())
    gone, stays = admit(core), admit(core)
    assert gone.future.cancel()
    ending = core.cancel(gone)
    assert ending is not None
    assert ending.outcome is Outcome.CANCELLED
    assert core.cancel(gone) is None, "its outcome was given already"
    assert take(core).tickets == (stays,)


def test_a_cancellation_noticed_only_when_the_executor_is_free_counts_once() -> None:
    core = make(FakeClock())
    gone, stays = admit(core), admit(core)
    gone.future.cancel()
    job, endings = core.take(IDLE)
    assert job is not None
    assert job.tickets == (stays,)
    assert outcomes(endings) == [(gone, Outcome.CANCELLED)]
    assert core.cancel(gone) is None


def test_a_request_in_execution_cannot_be_cancelled() -> None:
    core = make(FakeClock())
    ticket = admit(core)
    take(core)
    assert not ticket.future.cancel()


def test_requests_are_batched_where_that_is_cheaper() -> None:
    core = make(FakeClock(), marginal=0.1)
    tickets = [admit(core) for _ in range(6)]
    assert take(core).tickets == tuple(tickets[:4])
    assert take(core).tickets == tuple(tickets[4:])


def test_only_what_the_chosen_sub_net_may_answer_joins_a_batch() -> None:
    clock = FakeClock()
    core = make(clock, FixedPolicy("s90"))
    head, pinned, more, floor = (
        admit(core),
        admit(core, candidates=("s50",)),
        admit(core),
        admit(core, candidates=("s50", "s90")),
    )
    job = take(core)
    assert (job.subnet, job.tickets) == ("s90", (head, more, floor))
    job = take(core)
    assert (job.subnet, job.tickets, job.reason) == ("s50", (pinned,), "pinned")


def test_a_batch_never_holds_more_examples_than_decided_but_for_a_large_head() -> None:
    core = make(FakeClock(), FixedPolicy("s90"))
    first, large, last = admit(core, examples=2), admit(core, examples=3), admit(core, examples=2)
    assert take(core).tickets == (first, last)
    assert take(core).tickets == (large,)


def test_abandoning_ends_everything_that_waits() -> None:
    core = make(FakeClock())
    waits, gone = admit(core), admit(core)
    gone.future.cancel()
    endings = core.abandon()
    assert outcomes(endings) == [(waits, Outcome.FAILED), (gone, Outcome.CANCELLED)]
    assert isinstance(endings[0].error, Draining)
    assert core.take(IDLE) == (None, [])


def test_checking_needs_inputs_of_the_networks_shape() -> None:
    with pytest.raises(InvalidRequest, match="shape"):
        make(FakeClock()).check(Request(np.zeros((1, 3, 2, 2), np.float32)))
