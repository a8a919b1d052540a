from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.runtime.profiling.batching import BatchCost
from downshift.runtime.scheduling.budget import (
    AHEAD,
    EXACT,
    TOLERANCE,
    BudgetPolicy,
    backlog_time,
    burst_headroom,
    examples_due,
    time_per_example,
)
from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, QueueView, Waiting
from tests.runtime.doubles import SECONDS, profile

NAMES = ("s50", "s90", "s98")
IDLE = LoadSnapshot()
NO_MARGIN = BudgetPolicy(margin=0.0)


def view(*requests: Waiting, now: float = 0.0, executors: int = 1) -> QueueView:
    return QueueView(now, requests, sum(request.examples for request in requests), executors)


def due(
    deadline: float, *, examples: int = 1, candidates: tuple[str, ...] = NAMES, arrival: float = 0.0
) -> Waiting:
    return Waiting(arrival, deadline, examples, candidates)


@pytest.mark.parametrize(
    ("budget", "decision"),
    [
        (math.inf, Decision("s50", 1, "accurate")),
        (0.010, Decision("s50", 1, "accurate")),
        (0.0099, Decision("s90", 1, "slack")),
        (0.004, Decision("s90", 1, "slack")),
        (0.003, Decision("s98", 1, "slack")),
        (0.0005, Decision("s98", 1, "fastest")),
    ],
)
def test_a_request_alone_gets_the_most_accurate_sub_net_whose_p99_fits_its_slack(
    budget: float, decision: Decision
) -> None:
    assert NO_MARGIN.decide(view(due(budget)), IDLE, profile()) == decision


@pytest.mark.parametrize(("level", "subnet"), [(0, "s50"), (1, "s90"), (2, "s98"), (9, "s98")])
def test_the_load_level_steps_down_for_a_request_without_a_budget_and_for_no_other(
    level: int, subnet: str
) -> None:
    load = LoadSnapshot(level=level)
    patient = Waiting(0.0, 60.0, 1, NAMES, budgeted=False)
    assert NO_MARGIN.decide(view(patient), load, profile()).subnet == subnet
    assert NO_MARGIN.decide(view(due(60.0)), load, profile()).subnet == "s50"


def test_slack_is_what_is_left_now() -> None:
    assert NO_MARGIN.decide(view(due(5.005), now=5.0), IDLE, profile()).subnet == "s90"


def test_the_p99_counts_for_the_head_and_not_the_p50() -> None:
    assert NO_MARGIN.decide(view(due(0.010)), IDLE, profile(tail=1.5)).subnet == "s90"


def test_the_margin_is_kept_free() -> None:
    assert BudgetPolicy(margin=0.002).decide(view(due(0.011)), IDLE, profile()).subnet == "s90"


def test_the_head_leaves_time_for_those_behind_it() -> None:
    """Three requests due in 15 ms may take 5 ms each: s90, though the head alone could have s50."""
    queue = view(due(0.015), due(0.015), due(0.015))
    assert NO_MARGIN.decide(queue, IDLE, profile()) == Decision("s90", 1, "queue")


def test_a_request_far_behind_that_is_in_no_hurry_changes_nothing() -> None:
    assert NO_MARGIN.decide(view(due(0.012), due(9.0)), IDLE, profile()).subnet == "s50"


def test_a_batch_is_run_where_it_costs_less_than_its_members() -> None:
    queue = view(*[due(1.0)] * 4)
    assert NO_MARGIN.decide(queue, IDLE, profile(marginal=0.1)).batch_size == 4
    assert NO_MARGIN.decide(queue, IDLE, profile(marginal=1.0)).batch_size == 1


def test_a_batch_lets_a_crowd_have_the_accuracy_that_one_by_one_it_could_not() -> None:
    """Four due in 16 ms: 4 ms each is too little for s50 alone, but a batch of four takes 13 ms."""
    queue = view(*[due(0.016)] * 4)
    assert NO_MARGIN.decide(queue, IDLE, profile(marginal=0.1)) == Decision("s50", 4, "accurate")


def test_a_batch_that_would_be_late_is_cut_down() -> None:
    queue = view(due(0.012), *[due(1.0)] * 3)
    assert NO_MARGIN.decide(queue, IDLE, profile(marginal=0.15)) == Decision("s50", 2, "accurate")


def test_what_waits_is_a_batch_size_too() -> None:
    queue = view(*[due(1.0)] * 3)
    assert NO_MARGIN.decide(queue, IDLE, profile(marginal=0.1)).batch_size == 3


def test_a_crowd_that_nothing_fits_is_served_at_the_least_cost_per_example() -> None:
    """Eight due in 2 ms: s98 takes 0.25 ms an example in a batch of four that ends in time."""
    queue = view(*[due(0.002)] * 8)
    cheap = profile(marginal=0.0)
    assert NO_MARGIN.decide(queue, IDLE, cheap) == Decision("s98", 4, "slack")
    dear = profile(marginal=0.3)
    assert NO_MARGIN.decide(queue, IDLE, dear) == Decision("s98", 4, "fastest")


def test_a_pin_is_kept_whatever_it_costs() -> None:
    queue = view(due(0.0001, candidates=("s50",)))
    assert NO_MARGIN.decide(queue, IDLE, profile()) == Decision("s50", 1, "pinned")
    assert NO_MARGIN.decide(view(due(9.0, candidates=("s98",))), IDLE, profile()).reason == "pinned"


def test_a_request_of_many_examples_needs_time_for_all_of_them() -> None:
    assert NO_MARGIN.decide(view(due(0.040, examples=9)), IDLE, profile()) == Decision("s90", 9, "slack")


def test_time_per_example_is_the_tightest_share() -> None:
    queue = view(due(0.010), due(0.012, examples=3), due(0.100))
    assert time_per_example(queue, 0.0, at_least=0.0) == 0.012 / 4
    assert time_per_example(queue, 0.002, at_least=0.0) == 0.010 / 4
    assert time_per_example(view(due(math.inf)), 0.0, at_least=0.0) == math.inf


waiting = st.builds(
    due,
    st.one_of(st.just(math.inf), st.floats(-0.01, 0.2)),
    examples=st.integers(1, 9),
    candidates=st.sampled_from([NAMES, ("s50",), ("s50", "s90"), ("s98",)]),
)


@given(st.lists(waiting, min_size=1, max_size=12), st.floats(0.0, 1.2), st.floats(1.0, 3.0))
def test_a_decision_is_always_one_the_head_allows_and_the_queue_can_fill(
    requests: list[Waiting], marginal: float, tail: float
) -> None:
    requests.sort(key=lambda request: request.deadline)
    queue = view(*requests)
    measured = profile(marginal=marginal, tail=tail)
    decision = NO_MARGIN.decide(queue, IDLE, measured)
    head = queue.waiting[0]
    assert decision.subnet in head.candidates
    assert head.examples <= decision.batch_size <= queue.examples
    assert decision.batch_size == head.examples or decision.batch_size <= 4
    fits_some = any(measured[name].bound(head.examples) <= head.deadline for name in head.candidates)
    if fits_some:
        assert measured[decision.subnet].bound(decision.batch_size) <= head.deadline


@given(st.lists(waiting, min_size=1, max_size=12), st.floats(0.0, 0.1))
def test_more_time_never_makes_the_answer_less_accurate(requests: list[Waiting], more: float) -> None:
    requests.sort(key=lambda request: request.deadline)
    patient = [due(r.deadline + more, examples=r.examples, candidates=r.candidates) for r in requests]
    before = NO_MARGIN.decide(view(*requests), IDLE, profile())
    after = NO_MARGIN.decide(view(*patient), IDLE, profile())
    assert SECONDS[after.subnet] >= SECONDS[before.subnet]


def test_room_is_kept_for_the_burst_that_the_load_makes_likely() -> None:
    assert burst_headroom(0.1, 0, LoadSnapshot(), 0.001, 3.0) == math.inf, "nothing arrives"
    assert burst_headroom(math.inf, 9, LoadSnapshot(arrival_rate=500.0), 0.001, 3.0) == math.inf
    calm = LoadSnapshot(arrival_rate=500.0, burstiness=0.0)
    assert burst_headroom(0.1, 20, calm, 0.001, 3.0) == pytest.approx(0.08)
    bursty = LoadSnapshot(arrival_rate=500.0, burstiness=4.0)
    assert burst_headroom(0.1, 20, bursty, 0.001, 3.0) == pytest.approx(0.08 - 0.009), "k^2 / 4(1 - rho)"
    flood = LoadSnapshot(arrival_rate=2000.0, burstiness=0.0)
    assert burst_headroom(0.1, 0, flood, 0.001, 3.0) == pytest.approx(0.1 - 0.4), "4 budgets ahead"


def test_the_head_takes_no_more_than_those_that_come_meanwhile_can_have_as_well() -> None:
    """During six batches of s50, 60 ms, nine come: 100 ms of work until 60 ms and a budget have passed."""
    evenly = LoadSnapshot(arrival_rate=150.0, burstiness=0.0)
    assert NO_MARGIN.decide(view(due(0.0401)), evenly, profile()).subnet == "s50"
    assert NO_MARGIN.decide(view(due(0.0399)), evenly, profile()).subnet == "s90"


def test_only_differences_of_times_count() -> None:
    """The same two decisions an hour later."""
    evenly, hour = LoadSnapshot(arrival_rate=150.0, burstiness=0.0), 3600.0
    enough, short = (due(hour + budget, arrival=hour) for budget in (0.0401, 0.0399))
    assert NO_MARGIN.decide(view(enough, now=hour), evenly, profile()).subnet == "s50"
    assert NO_MARGIN.decide(view(short, now=hour), evenly, profile()).subnet == "s90"
    three = [due(hour + 0.015, arrival=hour)] * 3
    assert NO_MARGIN.decide(view(*three, now=hour), IDLE, profile()) == Decision("s90", 1, "queue")


@pytest.mark.parametrize(("executors", "subnet"), [(1, "s98"), (2, "s90"), (4, "s90")])
def test_more_executors_bear_more_of_a_burst(executors: int, subnet: str) -> None:
    bursty = LoadSnapshot(arrival_rate=800.0, burstiness=8.0)
    assert NO_MARGIN.decide(view(due(0.030), executors=executors), bursty, profile()).subnet == subnet


def test_those_with_longer_budgets_do_not_hurry_the_head() -> None:
    some = LoadSnapshot(arrival_rate=20.0, burstiness=1.0)
    patient = [due(5.0 + index) for index in range(50)]
    assert NO_MARGIN.decide(view(due(0.030), *patient), some, profile()).subnet == "s50"
    many = [due(5.0, examples=3)] * 20
    assert NO_MARGIN.decide(view(due(0.030), *many), some, profile()).subnet == "s50"


def test_those_that_are_due_are_counted_whatever_their_priority_and_size() -> None:
    assert examples_due(view(due(0.1), due(0.2), due(0.3)), 0.3) == 3
    assert examples_due(view(due(0.1), due(0.2), due(0.3)), 0.2) == 2
    assert examples_due(view(due(0.1, examples=4), due(0.2), due(0.3)), 0.2) == 5
    first = Waiting(0.0, 5.0, 1, NAMES, priority=1)
    assert examples_due(view(first, due(0.2, examples=2)), 0.2) == 2, "the last need not be the latest"


def test_behind_a_batch_there_is_no_less_than_what_will_come() -> None:
    batch = BatchCost("s50", 4, 0.040, 0.040)
    coming = 100.0 * AHEAD * 0.040
    assert backlog_time(batch, 6, 100.0, 0.001) == pytest.approx(0.040 + (2 + coming) * 0.001)
    assert backlog_time(batch, 1, 100.0, 0.001) == pytest.approx(0.040 + coming * 0.001), "three can wait"


def test_under_a_bursty_load_the_head_leaves_time_for_those_who_will_come() -> None:
    queue = view(due(0.030))
    assert NO_MARGIN.decide(queue, IDLE, profile()).subnet == "s50"
    bursty = LoadSnapshot(arrival_rate=800.0, burstiness=8.0)
    assert NO_MARGIN.decide(queue, bursty, profile()).subnet == "s98"


milliseconds = st.integers(-10, 200).map(lambda value: value / 1e3)


@given(st.lists(milliseconds, min_size=1, max_size=EXACT), st.sampled_from([0.0005, 0.0013]))
def test_skipping_requests_finds_the_same_tightest_share(slacks: list[float], at_least: float) -> None:
    """One request of one example looks at few of the queue; the same queue of twos looks at all."""
    slacks.sort()
    ones = time_per_example(view(*map(due, slacks)), 0.0, at_least)
    twos = time_per_example(view(*(due(slack, examples=2) for slack in slacks)), 0.0, at_least / 2)
    if min(ones, 2 * twos) >= at_least:
        assert ones == pytest.approx(2 * twos)
    else:
        assert max(ones, 2 * twos) < at_least


@given(st.lists(milliseconds, min_size=1, max_size=200))
def test_far_back_a_share_may_be_taken_for_a_little_larger_than_it_is(slacks: list[float]) -> None:
    slacks.sort()
    tightest = min(slack / number for number, slack in enumerate(slacks, start=1))
    found = time_per_example(view(*map(due, slacks)), 0.0, -math.inf)
    if tightest > 0.0:
        assert tightest * (1 - 1e-9) <= found <= tightest / (1.0 - TOLERANCE) * (1 + 1e-9)
    else:
        assert found <= 0.0
