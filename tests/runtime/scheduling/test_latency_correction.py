from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.runtime.scheduling.budget import BudgetPolicy
from downshift.runtime.scheduling.dispatch import Dispatch
from downshift.runtime.scheduling.estimators import FAR, MOST, STEP, WINDOW, LatencyCorrection
from downshift.runtime.scheduling.policy import LoadSnapshot, Waiting
from tests.runtime.doubles import profile

NAMES = ("s50", "s90", "s98")


def after(*batches: tuple[float, float]) -> LatencyCorrection:
    correction = LatencyCorrection()
    for now, ratio in batches:
        correction = correction.after(now, ratio)
    return correction


def test_one_odd_batch_changes_nothing() -> None:
    assert LatencyCorrection().factor == 1.0
    assert after((0.0, 9.0), (0.1, 9.0)).factor == 1.0, "too few"
    assert after((0.0, 1.0), (0.1, 9.0), (0.2, 1.05)).factor == 1.0


def test_a_slowdown_is_noticed_and_forgotten() -> None:
    slow = after(*[(0.01 * step, 2.0) for step in range(20)])
    assert slow.factor == pytest.approx(STEP**3)
    assert len(slow.batches) == MOST
    for step in range(5):
        slow = slow.after(0.2 + 0.01 * step, 1.0)
    assert slow.factor == 1.0


def test_batches_of_long_ago_do_not_count() -> None:
    assert after((0.0, 3.0), (0.1, 3.0), (0.2, 3.0), (0.2 + WINDOW, 1.0)).factor == 1.0


@given(st.lists(st.floats(0.01, 100.0), min_size=3, max_size=30))
def test_the_factor_is_within_half_a_step_of_what_was_seen(ratios: list[float]) -> None:
    factor = after(*[(0.001 * step, ratio) for step, ratio in enumerate(ratios)]).factor
    seen = ratios[-MOST:]
    assert min(seen) / STEP**0.51 <= factor <= max(seen) * STEP**0.51


@pytest.mark.parametrize(("ratio", "extreme"), [(math.inf, FAR), (1e300, FAR), (1e-300, 1 / FAR)])
def test_a_profile_of_nonsense_is_not_followed_for_ever(ratio: float, extreme: float) -> None:
    factor = after(*[(0.001 * step, ratio) for step in range(3)]).factor
    assert extreme / STEP <= factor <= extreme * STEP


def test_decisions_follow_the_machine_as_it_is() -> None:
    """s50 takes 10 ms of a budget of 15 ms, until everything takes three times as long; and again after."""
    dispatch: Dispatch[Waiting] = Dispatch(profile(), BudgetPolicy(margin=0.0), capacity=9)

    def serve(now: float, slowness: float) -> str:
        dispatch.admit(Waiting(now, now + 0.015, 1, NAMES), now, now)
        decision, _ = dispatch.take(now, LoadSnapshot())
        seconds = slowness * profile()[decision.subnet].typical(1)
        dispatch.ran(decision.subnet, 1, seconds, now + seconds)
        return decision.subnet

    assert [serve(0.1 * step, 1.0) for step in range(6)] == ["s50"] * 6
    assert "s90" in [serve(1.0 + 0.1 * step, 3.0) for step in range(5)][-2:]
    assert dispatch.profile["s50"].typical(1) == pytest.approx(0.03, rel=0.15)
    assert dispatch.slowdown == pytest.approx(3.0, rel=0.15)
    assert [serve(2.0 + 0.1 * step, 1.0) for step in range(5)][-1] == "s50"
    assert dispatch.profile == profile()
    assert dispatch.slowdown == 1.0


def test_a_machine_thought_too_slow_for_every_budget_is_tried_again() -> None:
    dispatch: Dispatch[Waiting] = Dispatch(profile(), BudgetPolicy(margin=0.0), capacity=9)
    for step in range(5):
        dispatch.ran("s98", 1, 0.1, 0.1 * step)
    assert dispatch.admit(Waiting(0.5, 0.515, 1, NAMES), 0.5, 0.5) is not None
    assert dispatch.admit(Waiting(1.0, 1.015, 1, NAMES), 1.0, 1.0) is None
