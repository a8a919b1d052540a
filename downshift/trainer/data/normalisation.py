"""Normalisation of a batch on its device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from downshift.models.pixels import standardise


@dataclass(frozen=True)
class Normalisation:
    """Bytes to the network's input: (x / 255 - mean) / std per channel, float32, channels_last."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [N, H, W, C] -> float32 [N, C, H, W] in channels_last memory order."""
        mean, std = (torch.tensor(each, device=images.device) for each in (self.mean, self.std))
        normalised: Tensor = standardise(images.float(), mean, std)
        return normalised.permute(0, 3, 1, 2)
