from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.policies.fixed import FixedPolicy
from runtime.policies.table import build, names
from runtime.simulator.engine import Scenario, simulate
from runtime.simulator.outcome import UNANSWERED
from tests.runtime.simulator.sample import trace, two

S50, S90 = 0, 1


def answered(scenario: Scenario, policy: str = "downshift") -> list[int]:
    outcome = simulate(scenario, build(policy, scenario.profile, scenario.slo))
    return [int(who) for who in outcome.answered_by]


def test_a_request_alone_gets_what_its_budget_allows() -> None:
    assert answered(Scenario(trace(0.0, 0.5), two(), 0.012)) == [S50, S50]
    assert answered(Scenario(trace(0.0, 0.5), two(), 0.005)) == [S90, S90]
    assert answered(Scenario(trace(0.0, 0.5), two(), 0.0005)) == [UNANSWERED, UNANSWERED]


def test_batches_run_one_after_the_other_on_each_executor() -> None:
    scenario = Scenario(trace(0.0, 0.001, 0.5), two(), 0.1)
    one = simulate(scenario, FixedPolicy("s50")).batches
    assert one[:, 0].tolist() == pytest.approx([0.0, 0.010, 0.5]), "the second waits for the first"
    pair = simulate(Scenario(scenario.trace, two(), 0.1, executors=2), FixedPolicy("s50")).batches
    assert pair[:, 0].tolist() == pytest.approx([0.0, 0.001, 0.5])
    assert pair[:, 1:].tolist() == [[S50, 1.0, 0.010]] * 3


def test_what_waits_when_an_executor_frees_is_one_batch() -> None:
    batches = simulate(Scenario(trace(0.0, 0.002, 0.003), two(0.5), 0.1), FixedPolicy("s50")).batches
    assert batches[:, 2].tolist() == [1.0, 2.0]
    assert batches[1].tolist() == pytest.approx([0.010, S50, 2.0, 0.015])


def test_a_late_answer_does_not_count() -> None:
    """The scheduler expects 10 ms, and every other batch takes longer, up to 30 ms."""
    scenario = Scenario(trace(*np.arange(100) / 2.0), two(tail=3.0), 0.030)
    outcome = simulate(scenario, FixedPolicy("s50"))
    late = outcome.batches[:, 3] > 0.030
    assert (outcome.answered_by == UNANSWERED).tolist() == late.tolist()
    assert (outcome.batches[:, 3] > 0.010).any()


def test_a_full_queue_refuses() -> None:
    scenario = Scenario(trace(0.0, 0.0, 0.0, 0.0), two(), 1.0, capacity=2)
    assert answered(scenario).count(UNANSWERED) == 1, "one runs, two wait"


times = st.lists(st.floats(0.0, 0.2), min_size=1, max_size=30).map(sorted)


@given(times, st.floats(0.0005, 0.06), st.sampled_from(names(two())), st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_whatever_the_policy_an_executor_does_one_batch_at_a_time(
    arrivals: list[float], slo: float, name: str, executors: int
) -> None:
    scenario = Scenario(trace(*arrivals), two(0.3, tail=2.0), slo, executors, seed=1)
    policy = build(name, scenario.profile, slo)
    outcome = simulate(scenario, policy)
    starts, ends = outcome.batches[:, 0], outcome.batches[:, 0] + outcome.batches[:, 3]
    for start in starts:
        assert ((starts <= start) & (ends > start)).sum() <= executors
    assert (outcome.answered_by != UNANSWERED).sum() <= outcome.batches[:, 2].sum() <= len(arrivals)
    again = simulate(scenario, policy)
    assert again.answered_by.tolist() == outcome.answered_by.tolist()
