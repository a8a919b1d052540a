from __future__ import annotations

import pytest

from downshift.models.errors import UnknownName
from downshift.runtime.errors import AccuracyUnavailable
from downshift.runtime.request import Request
from downshift.runtime.scheduling.core import candidates
from tests.runtime.doubles import inputs, profile

GOOD = inputs(1.0, 2.0)


def names(request: Request) -> tuple[str, ...]:
    return candidates(request, profile())


def test_without_demands_every_sub_net_may_answer_most_accurate_first() -> None:
    assert names(Request(GOOD)) == ("s50", "s90", "s98")


def test_a_pin_leaves_one() -> None:
    assert names(Request(GOOD, subnet="s90")) == ("s90",)


def test_a_dominated_sub_net_answers_only_those_who_name_it() -> None:
    measured = profile({"s50": 0.002, "s90": 0.004, "s98": 0.001})
    assert candidates(Request(GOOD), measured) == ("s50", "s98")
    assert candidates(Request(GOOD, min_accuracy=0.8), measured) == ("s50",)
    assert candidates(Request(GOOD, subnet="s90"), measured) == ("s90",)


def test_a_floor_leaves_those_that_reach_it() -> None:
    assert names(Request(GOOD, min_accuracy=0.8)) == ("s50", "s90")
    assert names(Request(GOOD, subnet="s90", min_accuracy=0.8)) == ("s90",)


def test_an_unknown_pin_is_named_beside_those_there_are() -> None:
    with pytest.raises(UnknownName, match="'s99'"):
        names(Request(GOOD, subnet="s99"))


def test_a_floor_nothing_reaches_is_refused_with_the_best_there_is() -> None:
    with pytest.raises(AccuracyUnavailable, match=r"floor 0.95: this artifact offers at most 0.9"):
        names(Request(GOOD, min_accuracy=0.95))


def test_a_pin_below_the_floor_is_refused() -> None:
    with pytest.raises(AccuracyUnavailable, match=r"floor 0.85: this artifact offers at most 0.8"):
        names(Request(GOOD, subnet="s90", min_accuracy=0.85))


def test_an_unmeasured_sub_net_reaches_no_floor() -> None:
    unmeasured = profile({"s60": 0.01, "s70": 0.01})
    with pytest.raises(AccuracyUnavailable, match="no measured accuracy"):
        candidates(Request(GOOD, min_accuracy=0.1), unmeasured)
