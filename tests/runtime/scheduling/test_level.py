from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.runtime.scheduling.budget import BudgetPolicy
from downshift.runtime.scheduling.dispatch import Dispatch
from downshift.runtime.scheduling.level import BUSY_WAIT, LONGEST_BACKOFF, LoadLevel, Thresholds
from downshift.runtime.scheduling.policy import LoadSnapshot, Waiting
from tests.runtime.doubles import profile

if TYPE_CHECKING:
    from collections.abc import Callable

AT = Thresholds(rise_delay=0.1, fall_delay=0.02, fall_utilization=0.9, hold=0.25)
NAMES = ("s50", "s90", "s98")


def levels(*steps: tuple[float, float, float]) -> list[int]:
    """The level after each (now, delay, utilization)."""
    level, seen = LoadLevel(), []
    for now, delay, utilization in steps:
        level = level.after(now, delay, utilization, most=2, at=AT)
        seen.append(level.level)
    return seen


def test_the_level_rises_with_delay_step_by_step_to_the_sparsest() -> None:
    assert levels((1.0, 0.2, 1.0), (1.3, 0.2, 1.0), (1.6, 0.2, 1.0), (1.9, 0.2, 1.0)) == [1, 2, 2, 2]


def test_a_level_is_held_for_a_while() -> None:
    assert levels((1.0, 0.2, 1.0), (1.1, 0.2, 1.0), (1.2, 0.0, 0.0), (1.25, 0.0, 0.0)) == [1, 1, 1, 0]


def test_between_the_thresholds_nothing_changes() -> None:
    assert levels((1.0, 0.2, 1.0), (2.0, 0.05, 0.0), (3.0, 0.099, 0.98)) == [1, 1, 1]


def test_high_utilization_delays_a_step_up_and_cannot_prevent_it() -> None:
    assert levels((1.0, 0.2, 1.0), (1.5, 0.0, 0.9)) == [1, 0]
    assert levels((1.0, 0.2, 1.0), (1.5, 0.0, 0.95), (1.0 + BUSY_WAIT, 0.0, 0.95)) == [1, 1, 0]


@pytest.mark.parametrize("utilization", [0.0, 0.5, 1.0])
def test_after_a_burst_lone_requests_get_the_densest_again_within_seconds_whatever_else_runs(
    utilization: float,
) -> None:
    level, now = LoadLevel(), 10.0
    for _ in range(64):  # a burst: everybody waits
        level, now = level.after(now, 0.5, utilization, most=4, at=AT), now + 0.1
    assert level.level == 4
    quiet = now
    while level.level and now < quiet + 60.0:  # then one request every half second, which never waits
        now += 0.5
        level = level.after(now, 0.0, utilization, most=4, at=AT)
    assert level.level == 0
    assert now <= quiet + 4 * BUSY_WAIT


def test_on_a_busy_machine_a_short_wait_is_enough_to_step_down() -> None:
    assert levels((1.0, 0.05, 0.98), (2.0, 0.05, 0.99), (2.9, 0.01, 1.0)) == [0, 1, 1]


def gpu_levels(*steps: tuple[float, float]) -> list[int]:
    """The level after each (now, how busy the GPU is), while nobody waits."""
    level, seen = LoadLevel(), []
    for now, gpu in steps:
        level = level.after(now, 0.0, 1.0, gpu=gpu, most=2, at=AT)
        seen.append(level.level)
    return seen


def test_a_busy_gpu_raises_the_level_by_itself_and_an_idle_one_lowers_it() -> None:
    busy = [(1.0 + 0.1 * step, 0.95) for step in range(8)]
    assert gpu_levels(*busy) == [1, 1, 1, 2, 2, 2, 2, 2]
    idle = [(10.0 + step, 0.2) for step in range(4)]
    assert gpu_levels(*busy, *idle)[len(busy) :] == [1, 0, 0, 0]


def test_between_the_gpus_thresholds_nothing_changes() -> None:
    assert gpu_levels((1.0, 0.95), (2.0, 0.85), (9.0, 0.71), (20.0, 0.69)) == [1, 1, 1, 0]


def test_a_denser_sub_net_that_fills_the_gpu_is_tried_ever_more_rarely() -> None:
    """Exponential backoff: the densest makes the GPU busy, the next leaves half of it idle."""
    level, tries = LoadLevel(), []
    for tick in range(1, 6000):
        before, gpu = level.level, 0.5 if level.level else 1.0
        level = level.after(tick / 100, 0.0, 0.5, gpu=gpu, most=2, at=AT)
        if level.level < before:
            tries.append(tick / 100)
    pauses = [round(later - earlier) for earlier, later in pairwise(tries)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_BACKOFF


def changes(load: Callable[[float, int], float], seconds: float) -> list[tuple[float, int]]:
    """When the level changed, and to what; every 10 ms a request waits as long as `load` says."""
    level, found = LoadLevel(), []
    for tick in range(1, int(seconds * 100) + 1):
        now = tick / 100
        before, level = level, level.after(now, load(now - level.since, level.level), 0.5, most=2, at=AT)
        if level.level != before.level:
            found.append((now, level.level))
    return found


def test_under_a_load_between_two_sub_nets_trials_become_rare() -> None:
    """The densest is too slow, which shows after 0.3 s; with the next nobody waits."""
    found = changes(lambda since, level: 0.2 if level == 0 and since > 0.3 else 0.0, 60.0)
    tries = [now for now, level in found if level == 0]
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses[0] < 1.0, "the first come soon"
    assert pauses[-1] > 8.0
    assert [round(each, 1) for each in pauses] == sorted(round(each, 1) for each in pauses)
    assert len(tries) < 12


def test_after_a_long_overload_the_densest_is_back_within_twice_the_longest_backoff() -> None:
    def load(now: float, level: int) -> float:
        return 0.2 if now < 60.0 and level < 2 else 0.0

    level, now, back = LoadLevel(), 0.0, None
    while now < 90.0 and back is None:
        now += 0.01
        level = level.after(now, load(now, level.level), 0.5, most=2, at=AT)
        if now > 60.0 and level.level == 0:
            back = now
    assert back is not None
    assert back < 60.0 + 2.0 * LONGEST_BACKOFF


def test_a_trial_that_succeeded_lets_the_next_come_sooner_and_new_load_begins_anew() -> None:
    tried = LoadLevel(level=2, since=10.0, backoff=4.0, on_trial=True)
    next_one = tried.after(14.0, 0.0, 0.5, most=2, at=AT)
    assert (next_one.level, next_one.backoff) == (1, 2.0)
    assert next_one.after(20.0, 0.2, 0.5, most=2, at=AT) == LoadLevel(level=2, since=20.0, backoff=0.0)
    assert next_one.after(15.0, 0.2, 0.5, most=2, at=AT) == LoadLevel(level=2, since=15.0, backoff=4.0)


@given(st.lists(st.tuples(st.floats(0.01, 0.1), st.floats(0.0, 0.3), st.floats(0.0, 1.0)), max_size=60))
def test_the_level_never_flaps(steps: list[tuple[float, float, float]]) -> None:
    level, now, changed = LoadLevel(), 1.0, -math.inf
    for gap, delay, utilization in steps:
        now += gap
        before, level = level, level.after(now, delay, utilization, most=2, at=AT)
        if level != before:
            assert abs(level.level - before.level) == 1
            assert now >= changed + AT.hold
            changed = now
        assert 0 <= level.level <= 2


def test_requests_without_a_budget_get_sparser_answers_when_they_have_to_wait() -> None:
    dispatch: Dispatch[Waiting] = Dispatch(profile(), BudgetPolicy(), capacity=99, thresholds=AT)
    for _ in range(4):
        dispatch.admit(Waiting(1.0, 61.0, 1, NAMES, budgeted=False), 1.0, 1.0)
    dispatch.admit(Waiting(1.0, 61.0, 1, ("s50",), budgeted=False), 1.0, 1.0)
    served = [dispatch.take(now, LoadSnapshot())[0].subnet for now in (1.0, 1.2, 1.3, 1.5, 1.8)]
    assert served == ["s50", "s90", "s90", "s98", "s50"], "a pin is kept"
