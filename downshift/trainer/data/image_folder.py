"""ImageNet-style data: one folder of image files per class, decoded during training.

    DATA_DIR/train/<class>/*.jpg    training images; the validation split is drawn from them
    DATA_DIR/val/<class>/*.jpg      the test split, for the final evaluation only

Files are decoded as the server does (EXIF orientation, 8 bits, alpha over white), then augmented. Order,
crops and flips are a pure function of (seed, epoch), independent of the number of loading processes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torchvision.transforms import v2

from downshift.models.images.preprocess import read_pixels
from downshift.models.images.reader import read_image
from downshift.models.spec import InputSpec
from downshift.trainer.data.class_folders import Files, list_class_folders, printable
from downshift.trainer.data.dataset import validation_size
from downshift.trainer.data.image_loader import EVALUATION_BATCH, load_batches
from downshift.trainer.data.normalisation import Normalisation
from downshift.trainer.errors import DataError
from downshift.trainer.graph import INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

# The customary ImageNet statistics, which torchvision's published weights expect.
IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
GREY = Normalisation(mean=(0.449,), std=(0.226,))  # the means of the three channels
SIZE, RESIZE = 224, 256  # pixels: ImageNet's customary crop, and the shorter side that it is cut from
SMALLEST_CROP = 0.08  # of an image's area: the usual lower bound of random resized crops


@dataclass(frozen=True)
class FolderDataset:
    """Class names and splits of files; evaluation resizes to `resize`, then centre-crops `size` x `size`.

    The normalisation has one channel for grey images, three for coloured ones.
    """

    name: str
    labels: tuple[str, ...]
    train: Files
    validation: Files
    test: Files
    normalisation: Normalisation = IMAGENET
    size: int = SIZE
    resize: int = RESIZE
    randaugment: bool = False

    @property
    def image(self) -> InputSpec:
        """Preprocessing from image to network input, in evaluation and serving."""
        mean, std = self.normalisation.mean, self.normalisation.std
        return InputSpec(INPUT, len(mean), self.size, self.size, mean, std, self.resize)


def read(name: str, data_dir: Path, *, validation: int, seed: int) -> FolderDataset:
    """The data set in `data_dir/<name>` or `data_dir` itself; `seed` draws `validation` files of `train`.

    Raises `DataError` naming a folder that is missing or empty, or classes that differ between the splits.
    """
    folder = data_dir / name if (data_dir / name).is_dir() else data_dir
    shown = printable(str(folder))
    labels, files = list_class_folders(folder / "train")
    test_labels, test = list_class_folders(folder / "val")
    if labels != test_labels:
        odd = sorted(set(labels) ^ set(test_labels))[:3]
        raise DataError(
            f"{shown}: train and val hold different classes ({', '.join(odd)}, …); give both the same"
        )
    validation = validation_size(f"{shown}/train", len(files), validation)
    return FolderDataset(name, labels, *divide(files, validation, seed), test)


def divide(files: Files, validation: int, seed: int) -> tuple[Files, Files]:
    """The files without `validation` of them, drawn by `seed`, and those; 0 < validation < len(files)."""
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed)).tolist()
    train, held_out = sorted(order[:-validation]), sorted(order[-validation:])
    return files.take(train), files.take(held_out)


class FolderBatches:
    """Shuffled batches of a training split: random resized crops and horizontal flips.

    Data-parallel sharding: this process gets the rows `rank`, `rank + world`, … of every batch.
    """

    def __init__(  # noqa: PLR0913 - the figures that define an epoch, all by keyword
        self,
        data: FolderDataset,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        loaders: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        self.loaders = loaders
        self.rows = slice(rank, None, world)

    def __len__(self) -> int:
        """Full batches per epoch; the incomplete last batch is dropped, different images each epoch."""
        return len(self.data.train) // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(images float32 [B, C, size, size], labels int64 [B]) of one epoch from batch `start` on."""
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
        count = len(self.data.train)
        order = torch.randperm(count, generator=generator)
        seeds = torch.randint(2**62, (count,), generator=generator)
        rows = [
            slice(batch * self.batch_size, (batch + 1) * self.batch_size) for batch in range(start, len(self))
        ]
        batches = [
            list(zip(order[r][self.rows].tolist(), seeds[r][self.rows].tolist(), strict=True)) for r in rows
        ]
        data = self.data
        transform = TrainingTransform(data.size, data.image.channels, data.randaugment)
        for images, labels in load_batches(
            self.data.train, transform, batches, device=self.device, loaders=self.loaders
        ):
            yield self.data.normalisation(images), labels


def evaluation_batches(
    data: FolderDataset, part: Literal["validation", "test"], *, device: torch.device, loaders: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """A held-out split in order, preprocessed exactly as in the server."""
    files = data.validation if part == "validation" else data.test
    keys = [(index, 0) for index in range(len(files))]
    batches = [keys[at : at + EVALUATION_BATCH] for at in range(0, len(keys), EVALUATION_BATCH)]
    for images, labels in load_batches(
        files, EvaluationTransform(data.image), batches, device=device, loaders=loaders
    ):
        yield data.normalisation(images), labels


@dataclass(frozen=True)
class EvaluationTransform:
    """Evaluation preprocessing, as in the server: uint8 [H, W, C], resized and cropped by the manifest."""

    image: InputSpec

    def __call__(self, data: bytes) -> Tensor:
        """See `image_loader.Transform`."""
        return torch.tensor(read_pixels(data, self.image))


@dataclass(frozen=True)
class TrainingTransform:
    """Training augmentation: uint8 [size, size, channels], a random crop, resized, and a random flip.

    With `randaugment`, two random operations of torchvision's RandAugment follow (Cubuk et al. 2020).
    JPEG draft mode: a large file is downscaled while decoding, to no less than `size` pixels in the smallest
    crop.
    """

    size: int
    channels: int = 3
    randaugment: bool = False

    def __call__(self, data: bytes) -> Tensor:
        """See `image_loader.Transform`."""
        enough = math.ceil(self.size / math.sqrt(SMALLEST_CROP))
        image = read_image(data, enough=enough).convert("L" if self.channels == 1 else "RGB")
        crop = v2.RandomResizedCrop(self.size, scale=(SMALLEST_CROP, 1.0))
        more = [v2.RandAugment()] if self.randaugment else []
        pixels: Tensor = v2.Compose([crop, v2.RandomHorizontalFlip(), *more, v2.PILToTensor()])(image)
        return pixels.permute(1, 2, 0)
