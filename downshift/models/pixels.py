"""Normalisation: the one place where 8-bit pixels become the numbers that a network is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from downshift.models.spec import InputSpec

WHITE = 255.0  # the largest value of an 8-bit pixel, which counts as 1


def normalise(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """float32 [N, C, H, W], C-contiguous, of pixels [N, C, H, W], by the manifest's mean and deviation."""
    mean, std = (np.asarray(each, np.float32).reshape(-1, 1, 1) for each in (spec.mean, spec.std))
    inputs: NDArray[np.float32] = standardise(pixels.astype(np.float32, order="C"), mean, std)
    return inputs


def standardise(pixels: Any, mean: Any, std: Any) -> Any:
    """(x / 255 - mean) / std of float32 arrays of numpy or torch; `mean` and `std` broadcast."""
    return (pixels / WHITE - mean) / std
