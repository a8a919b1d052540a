"""Ramps, learning rates and update steps as pure functions of the step."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.trainer.masks.schedule import InTurn, LearningRate, Ramp, Updates, cosine_fraction


def test_the_ramp_is_cubic() -> None:
    ramp = Ramp(start=10, end=20, initial=0.0, final=0.8)
    assert [ramp.sparsity(step) for step in (0, 10, 15, 20, 99)] == pytest.approx([0, 0, 0.7, 0.8, 0.8])


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 0.9), st.floats(0, 0.99))
def test_the_ramp_never_falls_and_ends_at_its_target(start: int, length: int, one: float, two: float) -> None:
    ramp = Ramp(start, start + length, min(one, two), max(one, two))
    values = [ramp.sparsity(step) for step in range(start + length + 3)]
    assert all(later >= earlier - 1e-12 for earlier, later in itertools.pairwise(values))
    assert values[-1] == pytest.approx(ramp.final)
    assert values[0] >= ramp.initial


def updates(schedule: Updates, index: int, period: int, steps: int) -> list[int]:
    """The steps on which sub-net `index` trains and is due."""
    return [t for t in range(steps) if t % period == index % period and schedule.due(t, index, period)]


def test_an_interval_that_the_sub_nets_do_not_divide_neither_stretches_nor_drifts() -> None:
    """Every 10 steps, three sub-nets: due at 10, 20, 30, ...; each update on the next own step."""
    schedule = Updates(interval=10, offset=0, stop=90)
    assert updates(schedule, 0, 3, 120) == [12, 21, 30, 42, 51, 60, 72, 81, 90]
    assert updates(schedule, 1, 3, 120) == [10, 22, 31, 40, 52, 61, 70, 82, 91]


def test_offsets_keep_sub_nets_from_updating_together() -> None:
    schedule = Updates(interval=100, offset=10, stop=500)
    steps = [updates(schedule, index, 5, 700) for index in range(5)]
    assert [first[0] for first in steps] == [100, 111, 122, 133, 144]
    assert len({step for series in steps for step in series}) == sum(map(len, steps))


@given(st.integers(5, 60), st.integers(1, 5), st.integers(0, 5), st.integers(60, 300))
def test_one_update_for_every_due_step_and_one_last_at_the_stop(
    interval: int, count: int, offset: int, stop: int
) -> None:
    schedule = Updates(interval, offset, stop)
    for index in range(count):
        own = [t - offset * index for t in range(stop + 400) if t % count == index % count]
        due = (*range(interval, stop, interval), stop)
        wanted = {next(step for step in own if step >= at) for at in due}
        assert [t - offset * index for t in updates(schedule, index, count, stop + 400)] == sorted(wanted)


def test_the_regrown_share_falls_by_a_cosine_to_nothing() -> None:
    assert [cosine_fraction(step, 100, 0.5) for step in (0, 50, 100, 200)] == pytest.approx([0.5, 0.25, 0, 0])


def test_learning_rates() -> None:
    cosine = LearningRate(base=1.0, steps=110, warmup=10)
    assert [cosine.at(step) for step in (0, 4, 9, 10, 60)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.5])
    assert 0 < cosine.at(109) < 0.001
    stepped = LearningRate(base=1.0, steps=100, warmup=0, milestones=(50, 75))
    assert [stepped.at(step) for step in (0, 49, 50, 75, 99)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])


def test_one_rate_after_another_begins_at_its_own_first_step() -> None:
    first = LearningRate(base=1.0, steps=10, warmup=0, milestones=(5,))
    second = LearningRate(base=0.5, steps=4, warmup=0, milestones=(2,))
    rate = InTurn(first, 10, second)
    assert [rate.at(step) for step in (0, 9, 10, 11, 12)] == pytest.approx([1.0, 0.1, 0.5, 0.5, 0.05])
