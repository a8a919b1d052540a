"""Levels and bitmaps answer the same questions; only nested masks fit levels."""

from __future__ import annotations

import numpy as np
import pytest

from downshift.models.errors import SpecError
from downshift.models.shared_weight import Bitmaps, Levels, SharedWeight

NESTED = np.array([[[1, 1], [1, 0]], [[1, 0], [1, 0]], [[0, 0], [1, 0]]], np.bool_)


def test_a_level_counts_the_sub_nets_that_keep_the_weight() -> None:
    levels = Levels.from_masks(NESTED)
    assert levels.levels.tolist() == [[2, 1], [3, 0]]
    assert levels.levels.dtype == np.uint8


@pytest.mark.parametrize("masks", [Levels.from_masks(NESTED), Bitmaps(NESTED)])
def test_both_forms_give_the_masks_back(masks: Levels | Bitmaps) -> None:
    assert (masks.stacked() == NESTED).all()
    assert all((masks.mask(index) == NESTED[index]).all() for index in range(3))
    assert masks.union().tolist() == [[True, True], [True, False]]


def test_masks_that_grow_back_do_not_fit_levels() -> None:
    with pytest.raises(SpecError, match=r"mask 1 keeps 3 weights that mask 0 removed.*'bitmaps'"):
        Levels.from_masks(np.array([[0, 0, 0, 1], [1, 1, 1, 0]], np.bool_))


def test_a_masked_weight_is_positive_zero_where_it_was_removed() -> None:
    weight = SharedWeight(np.array([[-1, 2], [-3, -4]], np.float32), Levels.from_masks(NESTED))
    assert weight.masked(1).tolist() == [[-1, 0], [-3, 0]]
    assert not np.signbit(weight.masked(2)[0]).any()
