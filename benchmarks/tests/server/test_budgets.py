"""The table of budgets counts what the client saw."""

from __future__ import annotations

from collections import Counter

from benchmarks.harness.client import Load
from benchmarks.server import budgets


def test_only_answers_that_came_within_the_budget_count_as_in_time() -> None:
    load = Load(latencies=[0.001, 0.002, 0.003], subnets=Counter(s50=2, s90=1))
    assert [budgets.in_time(load, budget) for budget in (0.0005, 0.002, 1.0)] == [0, 2, 3]


def test_a_row_shows_who_answered_and_who_was_refused() -> None:
    load = Load(latencies=[0.001] * 3 + [0.004], subnets=Counter(s50=3, s90=1), refused=Counter({504: 2}))
    assert budgets.row(load, 0.002, ("s50", "s80", "s90")) == ["2", "3", "0", "1", "75.00%", "1.00", "2"]


def test_a_budget_that_nothing_can_meet_has_no_times() -> None:
    load = Load(refused=Counter({504: 9}))
    assert budgets.row(load, 0.0001, ("s50",)) == ["0.1", "0", "-", "-", "9"]
