"""Gradient correction: projects a sub-net's gradient so that its step does not undo the previous sub-net's.

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
    """The inner product over all tensors, a scalar tensor on their device."""
    products = torch._foreach_mul(list(a), list(b))
    return torch.stack([p.sum() for p in products]).sum()


def corrected(
    gradient: Sequence[Tensor], previous: Sequence[Tensor], masks: Sequence[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """The gradient without its component against `previous`, and the cosine between the two before.

    `gradient` is zero outside `masks`. Deviation from the paper: the projection uses `previous` inside
    `masks` only. With all of it, masking the result would leave <g, p> < 0 whenever p has support outside,
    as a sparser sub-net follows a denser one. Afterwards <g, p> >= 0 up to rounding. No host synchronisation.
    """
    inside = [torch.where(mask, p, 0.0) for p, mask in zip(previous, masks, strict=True)]
    dot = inner_product(gradient, inside)
    square = inner_product(inside, inside)
    scale = dot.clamp(max=0.0) / (square + EPSILON)
    projected = [g - scale * p for g, p in zip(gradient, inside, strict=True)]
    length = inner_product(gradient, gradient)
    return projected, dot / (square.sqrt() * length.sqrt() + EPSILON)
