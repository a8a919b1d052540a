"""Batches of an in-memory split: shuffling and augmentation are a pure function of (seed, epoch).

All random numbers of an epoch are drawn at its start, so training resumes bit-exactly at any batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

    from downshift.trainer.data.dataset import Split
    from downshift.trainer.data.normalisation import Normalisation

PAD = 4
EVALUATION_BATCH = 500


class Batches:
    """Shuffled, augmented batches of one training split, on the device the split lies on."""

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        normalisation: Normalisation,
        augment: Literal["none", "crop", "crop-flip"],
        seed: int,
    ) -> None:
        self.split = split
        self.batch_size = batch_size
        self.normalisation = normalisation
        self.augment = augment
        self.seed = seed
        self._images = split.images
        if augment != "none":
            self._images = functional.pad(split.images, (0, 0, PAD, PAD, PAD, PAD))

    def __len__(self) -> int:
        """Full batches per epoch; the incomplete last batch is dropped, different images each epoch."""
        return len(self.split.labels) // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(images float32 [B, C, H, W], labels int64 [B]) of one epoch from batch `start` on."""
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
        count = len(self.split.labels)
        order = torch.randperm(count, generator=generator)
        shifts = torch.randint(0, 2 * PAD + 1, (count, 2), generator=generator)
        flips = torch.rand(count, generator=generator) < (0.5 if self.augment == "crop-flip" else 0.0)
        for batch in range(start, len(self)):
            rows = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            index = order[rows].to(self.split.labels.device)
            images = self._images[index]
            if self.augment != "none":
                images = self._crop(images, shifts[rows], flips[rows])
            yield self.normalisation(images), self.split.labels[index]

    def _crop(self, images: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
        _, height, width, _ = self.split.images.shape
        shifts, flips = shifts.to(images.device), flips.to(images.device)
        columns = torch.arange(width, device=images.device)
        rows = shifts[:, :1] + torch.arange(height, device=images.device)
        columns = shifts[:, 1:] + torch.where(flips[:, None], columns.flip(0), columns)
        each = torch.arange(len(images), device=images.device)
        return images[each[:, None, None], rows[:, :, None], columns[:, None, :]]


def evaluation_batches(split: Split, normalisation: Normalisation) -> Iterator[tuple[Tensor, Tensor]]:
    """A split in order, in batches of `EVALUATION_BATCH`."""
    for start in range(0, len(split), EVALUATION_BATCH):
        rows = slice(start, start + EVALUATION_BATCH)
        yield normalisation(split.images[rows]), split.labels[rows]
