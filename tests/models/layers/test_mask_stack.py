"""Both forms of a layer's stacked masks hold what they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from downshift.models.layers.mask_stack import BitStack, LevelStack

if TYPE_CHECKING:
    from torch import Tensor

WEIGHT = torch.zeros(2, 3)


def nested(levels: list[int], count: int) -> list[Tensor]:
    flat = torch.tensor(levels)
    return [(flat > index).view(2, 3) for index in range(count)]


@pytest.mark.parametrize("form", [LevelStack, BitStack])
def test_a_new_stack_keeps_every_weight_in_every_sub_net(form: type[LevelStack | BitStack]) -> None:
    stack = form(WEIGHT, 3)
    assert stack.count == 3
    assert all(stack.mask(index).all() and stack.mask(index).dtype == torch.bool for index in range(3))
    assert repr(stack) == f"{form.__name__}(count=3)"


@given(st.lists(st.integers(0, 4), min_size=6, max_size=6))
def test_nested_masks_survive_both_forms(levels: list[int]) -> None:
    masks = nested(levels, 4)
    for stack in (LevelStack(WEIGHT, 4), BitStack(WEIGHT, 4)):
        stack.assign(masks)
        assert all(torch.equal(stack.mask(index), mask) for index, mask in enumerate(masks))


def test_levels_are_one_byte_a_weight_for_any_number_of_sub_nets() -> None:
    stack = LevelStack(WEIGHT, 255)
    stack.assign(nested([255, 254, 128, 1, 0, 0], 255))
    assert stack.levels.dtype == torch.uint8
    assert stack.levels.flatten().tolist() == [255, 254, 128, 1, 0, 0]


def test_independent_masks_need_not_be_nested() -> None:
    stack = BitStack(WEIGHT, 2)
    first = torch.tensor([[True, False, True], [False, True, False]])
    stack.assign([first, ~first])
    assert torch.equal(stack.mask(0), first)
    assert torch.equal(stack.mask(1), ~first)


@pytest.mark.parametrize("form", [LevelStack, BitStack])
def test_a_stack_travels_with_the_state(form: type[LevelStack | BitStack]) -> None:
    stack, other = form(WEIGHT, 2), form(WEIGHT, 2)
    stack.assign(nested([2, 1, 0, 0, 1, 2], 2))
    other.load_state_dict(stack.state_dict())
    assert all(torch.equal(stack.mask(index), other.mask(index)) for index in range(2))
