from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.runtime.simulator.taut_string import taut_string


def test_a_wide_tube_leaves_the_string_straight() -> None:
    assert taut_string(0.0, [-9.0, -9.0, 3.0], [9.0, 9.0, 3.0]) == pytest.approx([1.0, 2.0, 3.0])


def test_the_string_bends_where_a_boundary_touches_it() -> None:
    assert taut_string(0.0, [2.0, -9.0, 3.0], [9.0, 9.0, 3.0]) == pytest.approx([2.0, 2.5, 3.0])
    assert taut_string(0.0, [-9.0, -9.0, 3.0], [9.0, 0.5, 3.0]) == pytest.approx([0.25, 0.5, 3.0])


tubes = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=4)


@given(tubes)
def test_no_path_on_a_grid_within_the_tube_has_a_smaller_sum_of_squared_increments(
    tube: list[tuple[int, int]],
) -> None:
    lower = [float(low) for low, _ in tube]
    upper = [float(low + width) for low, width in tube]
    lower[-1] = upper[-1]
    path = taut_string(0.0, lower, upper)

    def cost(values: list[float]) -> float:
        return sum((b - a) ** 2 for a, b in itertools.pairwise([0.0, *values]))

    assert all(low - 1e-9 <= x <= high + 1e-9 for low, x, high in zip(lower, path, upper, strict=True))
    grid = [[low + i * (high - low) / 8 for i in range(9)] for low, high in zip(lower, upper, strict=True)]
    assert cost(path) <= min(cost(list(values)) for values in itertools.product(*grid)) + 1e-9
