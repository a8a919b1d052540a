"""Gradient correction: what one sub-net's step must not undo of the previous sub-net's.

AST (Yang et al., NeurIPS 2022): inside an inner group, with p the previous sub-net's gradient,
g <- g - min(0, <g, p>) / (||p||^2 + eps) * p, confined to the active mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

EPSILON = 1e-12


def inner_product(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Sum of elementwise products over all tensors, as a scalar tensor on their device."""
    products = torch._foreach_mul(list(a), list(b))
    return torch.stack([p.sum() for p in products]).sum()


def corrected(
    gradient: Sequence[Tensor], previous: Sequence[Tensor], masks: Sequence[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """The gradient without the part that opposes `previous`, and the cosine between the two before.

    `gradient` is confined to `masks` already. The projection uses `previous` inside `masks` only: with the
    whole of it, as the paper writes, re-masking would leave <g, p> < 0 whenever p reaches outside (the
    sparser sub-net follows the denser). Afterwards <g, p> >= 0 up to rounding. Nothing synchronises with the
    host.
    """
    inside = [torch.where(mask, p, 0.0) for p, mask in zip(previous, masks, strict=True)]
    dot = inner_product(gradient, inside)
    square = inner_product(inside, inside)
    scale = dot.clamp(max=0.0) / (square + EPSILON)
    projected = [g - scale * p for g, p in zip(gradient, inside, strict=True)]
    length = inner_product(gradient, gradient)
    return projected, dot / (square.sqrt() * length.sqrt() + EPSILON)
