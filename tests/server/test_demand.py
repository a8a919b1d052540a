from __future__ import annotations

import pytest

from downshift.server.demand import Budget, Demand, read_demand
from downshift.server.errors import BadInput


def test_a_request_without_demands_gets_the_maximum_budget_and_any_sub_net() -> None:
    assert read_demand([("host", "x")], 60.0) == Demand(Budget(60.0))


def test_budget_pin_and_floor_are_read_together() -> None:
    headers = [("x-subnet", " s90 "), ("x-min-accuracy", "0.85"), ("x-latency-budget-ms", "25")]
    assert read_demand(headers, 60.0) == Demand(Budget(0.025, "x-latency-budget-ms"), "s90", 0.85)


@pytest.mark.parametrize(
    ("header", "parameter", "priority"),
    [
        ("1", None, 3),
        ("8", None, -4),
        ("0", None, 0),
        (None, 1, 3),
        (None, 8, -4),
        (None, 0, 0),
        (None, None, 0),
        ("6", 2, 2),
        ("2", 6, 2),
        ("6", None, -2),
    ],
)
def test_the_smaller_the_priority_on_the_wire_the_sooner(
    header: str | None, parameter: int | None, priority: int
) -> None:
    headers = [] if header is None else [("x-priority", header)]
    assert read_demand(headers, 60.0, priority=parameter).priority == priority


@pytest.mark.parametrize("text", ["9", "-1", "1.0", "high", "", "11", "\u0661"])
def test_a_priority_header_that_is_no_rank_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"X-Priority .*1, which goes first, to 8"):
        read_demand([("x-priority", text)], 60.0)


@pytest.mark.parametrize("value", [9, -1, 1.0, True, "1", [1]])
def test_a_priority_parameter_that_is_no_rank_is_refused(value: object) -> None:
    with pytest.raises(BadInput, match=r"parameters\.priority .*1, which goes first, to 8"):
        read_demand([], 60.0, priority=value)


def test_the_timeout_parameter_counts() -> None:
    assert read_demand([], 60.0, 1000).budget.seconds == pytest.approx(0.001)


@pytest.mark.parametrize(("text", "ratio"), [("0", 0.0), ("1", 1.0), ("1.0", 1.0), (".5", 0.5), ("0.9", 0.9)])
def test_a_floor_is_a_ratio(text: str, ratio: float) -> None:
    assert read_demand([("x-min-accuracy", text)], 60.0).min_accuracy == ratio


@pytest.mark.parametrize("text", ["90", "1.01", "-0.1", "nan", "90%", "", "1e-1"])
def test_a_floor_that_is_no_ratio_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"X-Min-Accuracy .*ratio between 0 and 1"):
        read_demand([("x-min-accuracy", text)], 60.0)


def test_of_two_floors_the_higher_counts() -> None:
    assert read_demand([("x-min-accuracy", "0.9"), ("x-min-accuracy", "0.1")], 60.0).min_accuracy == 0.9
    assert read_demand([("x-min-accuracy", "0.1"), ("x-min-accuracy", "0.9")], 60.0).min_accuracy == 0.9


def test_two_different_pins_are_refused_and_the_same_one_twice_is_not() -> None:
    assert read_demand([("x-subnet", "s50"), ("x-subnet", "s50"), ("x-subnet", "")], 60.0).subnet == "s50"
    with pytest.raises(BadInput, match="X-Subnet 's50' and 's98': send one"):
        read_demand([("x-subnet", "s50"), ("x-subnet", "s98")], 60.0)
