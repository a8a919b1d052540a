"""A point: a sub-net at one precision, with the accuracy it has there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from downshift.models.errors import SpecError, UnknownName
from downshift.models.spec import Int8Spec, Point, standard_error
from tests.models.tiny_artifact import tiny_artifact

PLAIN = tiny_artifact().manifest
FIRST, *REST = PLAIN.subnets
QUANTIZED = replace(FIRST, accuracy=0.9, int8=Int8Spec(0.8, {"image": (0.0, 1.0)}, 0.02), standard_error=0.01)
MANIFEST = replace(PLAIN, subnets=(QUANTIZED, *REST))


def test_a_quantised_sub_net_is_two_points_with_an_accuracy_each() -> None:
    full, int8, *rest = MANIFEST.points
    assert (full.name, full.precision, full.accuracy) == (FIRST.name, "fp32", 0.9)
    assert (int8.name, int8.precision, int8.accuracy) == (f"{FIRST.name}-int8", "int8", 0.8)
    assert full.sparsity == int8.sparsity == FIRST.sparsity
    assert [point.name for point in rest] == [subnet.name for subnet in REST]


def test_points_are_found_by_name_and_others_are_listed() -> None:
    assert MANIFEST.point(f"{FIRST.name}-int8") == Point(QUANTIZED, "int8")
    with pytest.raises(UnknownName, match=f"{REST[0].name}-int8.*{FIRST.name}-int8"):
        MANIFEST.point(f"{REST[0].name}-int8")


def test_each_precision_has_the_standard_error_of_its_own_accuracy() -> None:
    assert [Point(QUANTIZED, precision).standard_error for precision in ("fp32", "int8")] == [0.01, 0.02]
    assert Point(FIRST).standard_error is None
    assert Point(FIRST, "int8").standard_error is None


def test_a_standard_error_is_that_of_a_binomial_share() -> None:
    assert standard_error(0.9, 5000) == pytest.approx(0.004243, abs=1e-6)
    assert standard_error(0.5, 100) == 0.05
    with pytest.raises(SpecError, match=r"standard error 1.5 is not in \[0, 1\]"):
        replace(FIRST, standard_error=1.5)
