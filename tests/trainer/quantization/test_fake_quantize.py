"""Fake quantisation: the runtime's figures to the last bit, and gradients that pass straight through."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from downshift.runtime.lowering import quantize as runtime
from downshift.trainer.quantization.fake_quantize import (
    affine_of,
    fake_activation,
    fake_weight,
    fold_factor,
    int8_weight,
)

SEEDS = st.integers(0, 10_000)


@given(low=st.floats(-100, 100, width=32), high=st.floats(-100, 100, width=32))
def test_levels_of_activations_are_those_of_the_runtime(low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    theirs = runtime.affine_of(low, high)
    assert affine_of(low, high) == (theirs.scale, theirs.zero)


@given(seed=SEEDS, inputs=st.integers(1, 5))
def test_a_folded_weight_is_rounded_as_the_runtime_rounds_it(seed: int, inputs: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(6, inputs, 3, 3, generator=generator)
    weight[torch.rand(weight.shape, generator=generator) < 0.6] = 0
    factor = torch.randn(6, generator=generator)
    folded = np.multiply(weight.numpy(), factor.view(-1, 1, 1, 1).numpy(), dtype=np.float64)
    theirs, mine = runtime.quantized_weight(folded.astype(np.float32)), int8_weight(weight, factor)
    np.testing.assert_array_equal(mine.values.numpy(), theirs.values)
    np.testing.assert_array_equal(mine.scale.numpy(), theirs.scale)


def test_a_fake_weight_is_within_half_a_step_and_zeros_stay_zero() -> None:
    weight = torch.tensor([[127.0, 0.4, 0.0, -3.6]])
    assert fake_weight(weight, torch.ones(1)).tolist() == [[127.0, 0.0, 0.0, -4.0]]
    assert fake_weight(weight, torch.tensor([-0.5])).tolist() == [[127.0, 0.0, 0.0, -4.0]]
    assert fake_weight(weight, torch.zeros(1)).equal(weight)


def test_gradients_pass_rounding_and_stop_outside_of_the_range() -> None:
    weight = torch.randn(3, 4, requires_grad=True)
    fake_weight(weight, torch.ones(3)).sum().backward()
    assert weight.grad is not None
    assert weight.grad.equal(torch.ones(3, 4))
    x = torch.tensor([-2.0, 0.3, 1.5, 9.0], requires_grad=True)
    made = fake_activation(x, -1.0, 2.0)
    assert made.tolist() == pytest.approx([-1.0, 0.3, 1.5, 2.0], abs=3 / 255)
    made.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_a_fold_factor_is_what_batch_norm_multiplies_by() -> None:
    norm = nn.BatchNorm2d(2).eval()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([3.0, -1.0]))
    assert norm.running_var is not None
    norm.running_var.copy_(torch.tensor([4.0, 0.25]))
    assert fold_factor(norm).tolist() == pytest.approx([1.5, -2.0], rel=1e-4)
