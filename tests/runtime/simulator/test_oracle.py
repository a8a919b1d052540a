from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.runtime.simulator.engine import Scenario, simulate
from downshift.runtime.simulator.oracle import frontier, oracle, time_per_request
from downshift.runtime.simulator.policies.table import build
from tests.runtime.simulator.sample import trace, two


def test_a_lone_request_may_take_its_whole_budget() -> None:
    assert time_per_request(np.array([0.0]), 0.05).tolist() == [0.05]


def test_requests_that_overlap_share_their_time_evenly() -> None:
    assert time_per_request(np.array([0.0, 0.0]), 0.05).tolist() == pytest.approx([0.025, 0.025])
    assert time_per_request(np.array([0.0, 0.03]), 0.05).tolist() == pytest.approx([0.04, 0.04])
    assert time_per_request(np.array([0.0, 0.09]), 0.05).tolist() == pytest.approx([0.05, 0.05])


def test_the_frontier_holds_what_can_meet_the_budget() -> None:
    assert [values.tolist() for values in frontier(two(), 0.05)] == [[0.0, 0.001, 0.01], [0.0, 0.8, 0.9]]
    assert [values.tolist() for values in frontier(two(), 0.005)] == [[0.0, 0.001], [0.0, 0.8]]
    assert frontier(two(), 0.0005)[0].tolist() == [0.0]


def test_the_bound_of_two_at_once_by_hand() -> None:
    """11 ms for two: 5.5 ms each, half way between 1 ms and 10 ms."""
    summary = oracle(Scenario(trace(0.0, 0.0), two(), slo=0.011))
    assert summary.attainment == 1.0
    assert summary.effective_accuracy == pytest.approx(0.85)
    assert summary.goodput == 2.0


def test_more_than_can_be_served_counts_in_part() -> None:
    summary = oracle(Scenario(trace(0.0, 0.0, 0.0, 0.0), two(), slo=0.001))
    assert summary.attainment == pytest.approx(0.25)
    assert summary.effective_accuracy == pytest.approx(0.2)
    assert summary.served_accuracy == pytest.approx(0.8)


def test_without_any_answer_there_is_no_served_accuracy() -> None:
    summary = oracle(Scenario(trace(0.0), two(), slo=0.0005))
    assert (summary.attainment, summary.served_accuracy) == (0.0, None)


times = st.lists(st.floats(0.0, 0.2), min_size=1, max_size=25).map(sorted)
names = st.sampled_from(["downshift", "slackfit", "max-batch", "max-accuracy", "fixed:s50", "fixed:s90"])


@given(times, st.floats(0.0005, 0.06), st.floats(0.0, 0.9), names, st.integers(1, 3))
def test_no_policy_exceeds_the_bound(
    arrivals: list[float], slo: float, fixed: float, name: str, executors: int
) -> None:
    scenario = Scenario(trace(*arrivals), two(fixed, tail=1.5), slo=slo, executors=executors)
    bound = oracle(scenario)
    done = simulate(scenario, build(name, scenario.profile, slo)).summary(name)
    assert done.attainment <= bound.attainment + 1e-9
    assert (done.effective_accuracy or 0.0) <= (bound.effective_accuracy or 0.0) + 1e-9
