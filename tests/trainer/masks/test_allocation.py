"""How a global sparsity is shared out among layers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.trainer.masks.allocation import erk_densities, uniform_densities

SHAPES = st.lists(
    st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 5), st.integers(1, 5)),
    min_size=1,
    max_size=6,
)


def test_two_layers_by_hand() -> None:
    """Sizes 100 and 10000, sums 20 and 200: densities stand as 0.2 to 0.02 and keep 505 of 10100 weights."""
    small, large = erk_densities([(10, 10), (100, 100)], 0.95)
    assert small == pytest.approx(10 * large)
    assert 100 * small + 10000 * large == pytest.approx(505)


def test_a_layer_that_would_need_more_than_all_its_weights_stays_dense() -> None:
    small, large = erk_densities([(2, 2), (100, 100)], 0.5)
    assert small == 1.0
    assert 4 + 10000 * large == pytest.approx(5002)


@given(SHAPES, st.floats(0.0, 0.999))
def test_the_global_sparsity_is_met_whatever_the_layers(
    shapes: list[tuple[int, ...]], sparsity: float
) -> None:
    sizes = [math.prod(shape) for shape in shapes]
    densities = erk_densities(shapes, sparsity)
    assert all(0.0 <= density <= 1.0 + 1e-9 for density in densities)
    kept = sum(density * size for density, size in zip(densities, sizes, strict=True))
    assert kept == pytest.approx((1.0 - sparsity) * sum(sizes), rel=1e-6, abs=1e-6)


def test_uniform_is_the_same_everywhere() -> None:
    assert uniform_densities([(3,), (4, 4)], 0.75) == [0.25, 0.25]
