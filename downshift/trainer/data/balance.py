"""Class weights, for data sets with more images of one class than of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def class_weights(counts: Tensor) -> Tensor:
    """Weights of the loss, float32 [classes], that give every class the same say; 1 on average over images.

    counts: training images of every class, int64. A class without any counts as one.
    """
    counts = counts.clamp(min=1).float()
    return counts.sum() / (len(counts) * counts)
