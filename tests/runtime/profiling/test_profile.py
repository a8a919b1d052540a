from __future__ import annotations

import pytest

from downshift.models.errors import UnknownName
from downshift.runtime.profiling.profile import Profile
from tests.runtime.doubles import MACHINE, measurement, profile


def test_the_most_accurate_sub_net_comes_first() -> None:
    assert profile({"s98": 0.001, "s50": 0.010, "s90": 0.004}).names == ("s50", "s90", "s98")


def test_without_accuracies_the_order_of_measurement_stays() -> None:
    rows = tuple(measurement(name, 1, 0.001) for name in ("s70", "s80"))
    assert Profile("", MACHINE, rows).names == ("s70", "s80")
    assert Profile("", MACHINE, rows).dominated == frozenset()


def test_latency_is_interpolated_between_measured_sizes_and_adds_up_beyond_them() -> None:
    rows = (measurement("s50", 1, 1.0, p99=2.0), measurement("s50", 4, 2.5, p99=5.0))
    latency = Profile("", MACHINE, rows)["s50"]
    assert latency.max_batch == 4
    assert [latency.typical(n) for n in range(5)] == [0.0, 1.0, 1.5, 2.0, 2.5]
    assert [latency.bound(n) for n in range(5)] == [0.0, 2.0, 3.0, 4.0, 5.0]
    assert latency.typical(9) == 2.5 + 2.5 + 1.0
    assert latency.bound(8) == 10.0


def test_every_count_runs_on_the_engine_that_is_faster_at_the_next_measured_size() -> None:
    rows = (
        measurement("s50", 1, 1.0, engine="a"),
        measurement("s50", 1, 2.0, engine="b", chosen=False),
        measurement("s50", 4, 9.0, engine="a", chosen=False),
        measurement("s50", 4, 5.0, engine="b"),
    )
    latency = Profile("", MACHINE, rows)["s50"]
    assert [latency.engine(n) for n in (1, 2, 3, 4, 5, 100)] == ["a", "b", "b", "b", "b", "b"]
    assert latency.p50 == (0.0, 1.0, 3.0, 4.0, 5.0), "two examples on b cost what b takes, not what a takes"


def test_an_engine_that_is_nowhere_chosen_is_outrun() -> None:
    rows = (
        measurement("s50", 1, 1.0, engine="a"),
        measurement("s50", 1, 2.0, engine="b", chosen=False),
        measurement("s90", 1, 1.0, engine="a", chosen=False),
        measurement("s90", 1, 0.5, engine="b"),
        measurement("s90", 1, 3.0, engine="c", chosen=False),
    )
    assert Profile("", MACHINE, rows).outrun == {("s50", "b"), ("s90", "a"), ("s90", "c")}


def test_a_sub_net_is_dominated_by_one_as_accurate_and_as_fast() -> None:
    measured = profile({"s50": 0.002, "s90": 0.004, "s98": 0.001})
    assert measured.dominated == {"s90"}


def test_who_is_faster_on_larger_batches_is_not_dominated() -> None:
    rows = [measurement(name, 1, 0.001 * (name == "s90") + 0.001) for name in ("s50", "s90")]
    rows += [measurement("s50", 4, 0.004), measurement("s90", 4, 0.003)]
    assert Profile("", MACHINE, tuple(rows)).dominated == frozenset()


def test_policies_choose_from_those_that_are_not_dominated() -> None:
    measured = profile({"s50": 0.002, "s90": 0.004, "s98": 0.001})
    assert measured.choices == ("s50", "s98")
    assert measured.names == ("s50", "s90", "s98"), "a request may still name it"
    assert measured.soonest_bound(measured.choices, 1) == measured["s98"].bound(1)


def test_equal_sub_nets_do_not_dominate_each_other() -> None:
    assert profile({"s50": 0.002}).dominated == frozenset()


def test_the_floor_is_the_least_an_example_can_cost() -> None:
    assert profile({"s50": 0.010, "s98": 0.002}, batch_sizes=(1, 4), marginal=0.5).floor == 0.002 * 2.5 / 4


def test_an_unknown_sub_net_is_named_beside_those_there_are() -> None:
    with pytest.raises(UnknownName, match=r"unknown sub-net 's09'.*choose one of s50, s90, s98"):
        profile()["s09"]
