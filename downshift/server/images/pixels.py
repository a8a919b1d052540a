"""From pixels to numbers a network was trained on: the last step of the manifest's rule for images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from downshift.models.spec import InputSpec


def normalise(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """float32 [N, C, H, W], C-contiguous, of pixels [N, C, H, W]: (x / 255 - mean) / std per channel."""
    per_channel = (spec.channels, 1, 1)
    mean = np.asarray(spec.mean, dtype=np.float32).reshape(per_channel)
    std = np.asarray(spec.std, dtype=np.float32).reshape(per_channel)
    scaled = (pixels / np.float32(255.0) - mean) / std
    return np.ascontiguousarray(scaled, dtype=np.float32)
