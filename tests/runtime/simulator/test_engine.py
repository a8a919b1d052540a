from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downshift.runtime.scheduling.fixed import FixedPolicy
from downshift.runtime.simulator.arrivals import Arrivals
from downshift.runtime.simulator.engine import Scenario, simulate
from downshift.runtime.simulator.policies.proteus import Proteus
from downshift.runtime.simulator.policies.table import build, names
from downshift.runtime.simulator.replay import UNANSWERED
from downshift.runtime.simulator.service import Recorded
from downshift.runtime.simulator.synthetic import synthetic_profile
from downshift.runtime.simulator.trace import Trace
from tests.runtime.simulator.sample import trace, two

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, QueueView

S50, S90 = 0, 1


def answered(scenario: Scenario, policy: str = "downshift") -> list[int]:
    replay = simulate(scenario, build(policy, scenario.profile, scenario.slo))
    return [int(who) for who in replay.answered_by]


def test_a_request_alone_gets_what_its_budget_allows() -> None:
    assert answered(Scenario(trace(0.0, 0.5), two(), slo=0.012)) == [S50, S50]
    assert answered(Scenario(trace(0.0, 0.5), two(), slo=0.005)) == [S90, S90]
    assert answered(Scenario(trace(0.0, 0.5), two(), slo=0.0005)) == [UNANSWERED, UNANSWERED]


def test_batches_run_one_after_the_other_on_each_executor() -> None:
    scenario = Scenario(trace(0.0, 0.001, 0.5), two(), slo=0.1)
    one = simulate(scenario, FixedPolicy("s50")).batches
    assert one[:, 0].tolist() == pytest.approx([0.0, 0.010, 0.5]), "the second waits for the first"
    pair = simulate(Scenario(scenario.trace, two(), slo=0.1, executors=2), FixedPolicy("s50")).batches
    assert pair[:, 0].tolist() == pytest.approx([0.0, 0.001, 0.5])
    assert pair[:, 1:].tolist() == [[S50, 1.0, 0.010]] * 3


def test_a_policy_is_told_how_many_batches_run_and_how_many_requests_wait() -> None:
    told: list[tuple[int, int]] = []

    class Told(FixedPolicy):
        def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:
            told.append((load.in_flight, load.queued))
            return super().decide(queue, load, profile)

    simulate(Scenario(trace(0.0, 0.005, 0.006, 0.007), two(), slo=0.1, executors=2), Told("s50"))
    assert told == [(0, 1), (1, 1), (1, 2)], "the last two are one batch"


def test_what_waits_when_an_executor_frees_is_one_batch() -> None:
    batches = simulate(Scenario(trace(0.0, 0.002, 0.003), two(0.5), slo=0.1), FixedPolicy("s50")).batches
    assert batches[:, 2].tolist() == [1.0, 2.0]
    assert batches[1].tolist() == pytest.approx([0.010, S50, 2.0, 0.015])


def test_a_late_answer_does_not_count() -> None:
    """The scheduler expects 10 ms, and every other batch takes longer, up to 30 ms."""
    scenario = Scenario(trace(*np.arange(100) / 2.0), two(tail=3.0), slo=0.020)
    replay = simulate(scenario, FixedPolicy("s50"))
    late = replay.batches[:, 3] > 0.020
    assert (replay.answered_by == UNANSWERED).tolist() == late.tolist()
    assert 0 < late.sum() < 100


def test_a_full_queue_refuses() -> None:
    scenario = Scenario(trace(0.0, 0.0, 0.0, 0.0), two(), slo=1.0, capacity=2)
    assert answered(scenario).count(UNANSWERED) == 1, "one runs, two wait"


def test_requests_may_all_pin_one_sub_net() -> None:
    assert answered(Scenario(trace(0.0, 0.0), two(), slo=0.015, subnet="s50")) == [S50, UNANSWERED]
    assert answered(Scenario(trace(0.0, 0.0), two(), slo=0.015)) == [S50, S90]


def test_an_executor_may_need_time_between_two_batches_which_no_answer_waits_for() -> None:
    batches = simulate(
        Scenario(trace(0.0, 0.001), two(), slo=0.1, handover=0.002), FixedPolicy("s50")
    ).batches
    assert batches[:, 0].tolist() == pytest.approx([0.0, 0.012])
    pair = Scenario(trace(0.0, 0.0, 0.001), two(), slo=0.1, handover=0.002, executors=2)
    batches = simulate(pair, FixedPolicy("s50")).batches
    assert batches[:, 0].tolist() == pytest.approx([0.0, 0.0, 0.012])
    assert answered(Scenario(trace(0.0), two(), slo=0.011, handover=0.002)) == [S50]


def test_a_batch_may_take_what_a_real_machines_batches_took_at_that_moment() -> None:
    recorded = Recorded(two(), [0.001, 0.01, 0.03], [1.5, 2.0, 1.0])
    slower = Scenario(trace(0.0, 0.001, 0.02, 0.04), two(), slo=0.1, handover=0.002, recorded=recorded)
    batches = simulate(slower, FixedPolicy("s50")).batches
    assert batches[:, 0].tolist() == pytest.approx([0.0, 0.017, 0.039, 0.051])


def test_what_is_done_within_the_reserve_counts_but_nothing_aims_at_it() -> None:
    assert answered(Scenario(trace(0.0), two(), slo=0.0125, reserve=0.002)) == [S50]
    assert answered(Scenario(trace(0.0), two(), slo=0.0115, reserve=0.002)) == [S90]
    recorded = Recorded(two(), [0.0], [1.15])
    assert answered(Scenario(trace(0.0), two(), slo=0.012, reserve=0.001, recorded=recorded)) == [S50]


def test_an_answer_counts_when_it_is_with_its_client() -> None:
    times = trace(0.0, 0.5)
    assert answered(Scenario(times, two(), slo=0.012, delivery=(0.0015, 0.0025))) == [S50, UNANSWERED]
    kept = Scenario(times, two(), slo=0.012, reserve=0.0025, delivery=(0.0015, 0.0025))
    assert answered(kept) == [S90, S90], "what is kept for the way back suffices for it"


def test_a_policy_that_waits_starts_when_its_head_must_or_its_largest_batch_is_full() -> None:
    waiting = Proteus(FixedPolicy("s90"))
    batches = simulate(Scenario(trace(0.0, 0.001, 0.5), two(), slo=0.1), waiting).batches
    assert batches[:, 0].tolist() == pytest.approx([0.1 - 0.002, 0.5 + 0.1 - 0.001])
    assert batches[:, 2].tolist() == [2.0, 1.0]
    full = simulate(Scenario(trace(0.0, 0.001, 0.002, 0.003), two(), slo=0.1), waiting).batches
    assert full[:, [0, 2]].tolist() == [[0.003, 4.0]]


def test_under_more_load_than_single_answers_can_bear_batches_stay_large() -> None:
    """Each alone takes 1 ms and eight take 1.35: once heads had no slack for more, none ever would again."""
    subnets = (("s50", 0.5, 0.9, 0.010), ("s90", 0.9, 0.8, 0.001))
    profile = synthetic_profile(subnets, batch_sizes=(1, 2, 4, 8), fixed=0.95)
    arrivals = Arrivals(rate=4000.0, seconds=2.0, seed=3).times()
    replay = simulate(
        Scenario(Trace("steady", arrivals, 2.0), profile, slo=0.005), build("downshift", profile, 0.005)
    )
    late = replay.batches[replay.batches[:, 0] > 0.5]
    assert late[:, 2].mean() > 4.0
    assert replay.summary("downshift").attainment > 0.95


def test_a_sudden_load_is_answered_in_batches_before_its_rate_is_known() -> None:
    """The rate of arrivals is that of the last half second; the queue knows at once."""
    subnets = (("s50", 0.5, 0.9, 0.010), ("s90", 0.9, 0.8, 0.001))
    profile = synthetic_profile(subnets, batch_sizes=(1, 2, 4, 8, 16), fixed=0.8)
    calm, sudden = np.arange(100) / 100.0, 1.0 + Arrivals(rate=4000.0, seconds=0.1).times()
    replay = simulate(Scenario(trace(*calm, *sudden), profile, slo=0.012), build("downshift", profile, 0.012))
    assert (replay.answered_by[len(calm) :] != UNANSWERED).mean() > 0.8, "0.42 by the rate alone"


times = st.lists(st.floats(0.0, 0.2), min_size=1, max_size=30).map(sorted)


@given(times, st.floats(0.0005, 0.06), st.sampled_from(names(two())), st.integers(1, 3))
@settings(max_examples=60)
def test_whatever_the_policy_an_executor_does_one_batch_at_a_time(
    arrivals: list[float], slo: float, name: str, executors: int
) -> None:
    scenario = Scenario(trace(*arrivals), two(0.3, tail=2.0), slo=slo, executors=executors, seed=1)
    policy = build(name, scenario.profile, slo)
    replay = simulate(scenario, policy)
    starts, ends = replay.batches[:, 0], replay.batches[:, 0] + replay.batches[:, 3]
    for start in starts:
        assert ((starts <= start) & (ends > start)).sum() <= executors
    assert (replay.answered_by != UNANSWERED).sum() <= replay.batches[:, 2].sum() <= len(arrivals)
    again = simulate(scenario, policy)
    assert again.answered_by.tolist() == replay.answered_by.tolist()
