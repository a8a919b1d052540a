"""Gradient correction: two opposed gradients change, and afterwards do not oppose each other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from downshift.trainer.gradient_correction import corrected, inner_product

ALL = torch.ones(2, dtype=torch.bool)


def test_opposed_gradients_are_made_orthogonal() -> None:
    (result,), cosine = corrected([tensor([-1.0, 1.0])], [tensor([1.0, 0.0])], [ALL])
    torch.testing.assert_close(result, tensor([0.0, 1.0]))
    assert cosine.item() == pytest.approx(-(0.5**0.5))


def test_gradients_that_agree_are_left_alone() -> None:
    gradient = tensor([1.0, 1.0])
    (result,), cosine = corrected([gradient], [tensor([1.0, 0.0])], [ALL])
    assert torch.equal(result, gradient)
    assert cosine > 0


def test_a_previous_gradient_of_zero_changes_nothing() -> None:
    (result,), cosine = corrected([tensor([1.0, -2.0])], [torch.zeros(2)], [ALL])
    assert torch.equal(result, tensor([1.0, -2.0]))
    assert cosine == 0


def test_the_projection_is_confined_to_the_active_mask() -> None:
    """The previous sub-net reaches outside; nothing of it may appear there, and <g, p> >= 0 still holds."""
    mask = tensor([True, False])
    (result,), _ = corrected([tensor([-1.0, 0.0])], [tensor([1.0, 5.0])], [mask])
    assert result[1] == 0
    assert inner_product([result], [tensor([1.0, 5.0])]) >= -1e-6


def test_one_direction_over_all_layers_decides_not_one_a_layer() -> None:
    gradients = [tensor([-1.0]), tensor([3.0])]
    previous = [tensor([1.0]), tensor([1.0])]
    masks = [torch.ones(1, dtype=torch.bool)] * 2
    result, cosine = corrected(gradients, previous, masks)
    assert cosine > 0
    assert [r.item() for r in result] == [-1.0, 3.0]


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_afterwards_no_gradient_opposes_the_previous_one(seed: int, layers: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = [torch.rand(7, generator=generator) < 0.6 for _ in range(layers)]
    gradients = [torch.randn(7, generator=generator) * mask for mask in masks]
    previous = [torch.randn(7, generator=generator) for _ in masks]
    before = inner_product(gradients, previous)
    result, cosine = corrected(gradients, previous, masks)
    assert inner_product(result, previous) >= -1e-4
    assert (cosine < 0) == (before < 0)
    for gradient, mask in zip(result, masks, strict=True):
        assert not gradient[~mask].any()
