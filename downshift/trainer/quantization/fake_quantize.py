"""int8 arithmetic in float32: rounded values forward, straight-through estimator backward.

The figures are those of the runtime, to the last bit: weights are folded with BatchNorm, then rounded per
output channel to [-127, 127]; activations are rounded per tensor to 256 levels, one of which is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn.modules.batchnorm import _BatchNorm

LEVELS = 255
WEIGHT_LEVELS = 127


@dataclass(frozen=True, eq=False)
class Int8Weight:
    """Whole numbers in [-127, 127] as float64, in the shape of the weight; float32 scale of each channel."""

    values: Tensor
    scale: Tensor


def fold_factor(norm: _BatchNorm) -> Tensor:
    """What BatchNorm multiplies each channel by in inference, float32 [O]: gamma / sqrt(variance + epsilon).

    Epsilon is rounded to float32, as ONNX stores it.
    """
    assert norm.running_var is not None  # noqa: S101 - a masked layer's BatchNorm has statistics
    deviation = (norm.running_var.double() + float(np.float32(norm.eps))).sqrt()
    return (norm.weight.detach().double() / deviation).float()


def int8_weight(weight: Tensor, factor: Tensor) -> Int8Weight:
    """The int8 form of `weight` [O, ...] after folding `factor` [O]; symmetric, one scale per channel."""
    folded = (weight.detach().double() * _rows(factor.double(), weight)).float().double()
    largest = folded.abs().flatten(1).amax(1)
    scale = torch.where(largest > 0, largest / WEIGHT_LEVELS, 1.0).float()
    values = torch.round(folded / _rows(scale.double(), weight)).clamp(-WEIGHT_LEVELS, WEIGHT_LEVELS)
    return Int8Weight(values, scale)


def fake_weight(weight: Tensor, factor: Tensor) -> Tensor:
    """`weight` rounded to what int8 stores, without the folded factor; its gradient is passed through.

    A channel whose factor is 0 stays as it is: BatchNorm removes it anyway.
    """
    made = int8_weight(weight, factor)
    rows = _rows(factor.double(), weight)
    real = made.values * _rows(made.scale.double(), weight) / torch.where(rows == 0, 1.0, rows)
    rounded = torch.where(rows == 0, weight.detach().double(), real).to(weight.dtype)
    return weight + (rounded - weight).detach()


def affine_of(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of the 256 levels that cover [low, high] and 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / LEVELS))
    return (scale, round(-low / scale)) if scale > 0.0 else (1.0, 0)


def fake_activation(x: Tensor, low: float, high: float) -> Tensor:
    """`x` rounded to 256 levels of [low, high]; the gradient passes inside the range and is 0 outside."""
    scale, zero = affine_of(low, high)
    return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, 0, LEVELS)


def _rows(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *(1,) * (like.dim() - 1))
