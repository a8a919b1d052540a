"""ImageNet-style data: one folder of image files per class, decoded while training.

    DATA_DIR/train/<class>/*.jpg    what is learned from, and the validation split that chooses
    DATA_DIR/val/<class>/*.jpg      the test split, which chooses nothing

Order, crops and flips are a pure function of (seed, epoch), whatever the number of loading workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from downshift.trainer.data.batches import Normalisation
from downshift.trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

# The means and deviations everybody normalises ImageNet with (torchvision's published weights expect them).
IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
EVALUATION_BATCH = 250


@dataclass(frozen=True)
class Files:
    """Paths of image files and the class of each."""

    paths: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Sequence[int]) -> Files:
        """The files at `indices`, in that order."""
        return Files(tuple(self.paths[i] for i in indices), tuple(self.labels[i] for i in indices))


@dataclass(frozen=True)
class FolderDataset:
    """Class names and splits of files; images are cut to `size` pixels square after resizing to `resize`."""

    name: str
    labels: tuple[str, ...]
    train: Files
    validation: Files
    test: Files
    normalisation: Normalisation = IMAGENET
    size: int = 224
    resize: int = 256


def read(name: str, data_dir: Path, *, validation: int, seed: int) -> FolderDataset:
    """The data set in `data_dir/<name>` or `data_dir` itself; `seed` draws `validation` files of `train`.

    Raises `DataError` naming the folder that is missing, empty, or has other classes than its companion.
    """
    folder = data_dir / name if (data_dir / name).is_dir() else data_dir
    labels, files = _listed(folder / "train")
    test_labels, test = _listed(folder / "val")
    if labels != test_labels:
        odd = sorted(set(labels) ^ set(test_labels))[:3]
        raise DataError(
            f"{folder}: train and val hold different classes ({', '.join(odd)}, …); give both the same"
        )
    if not 0 < validation < len(files):
        raise DataError(
            f"validation {validation}: {folder / 'train'} has {len(files)} images; "
            f"choose between 1 and {len(files) - 1}"
        )
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed)).tolist()
    train, held_out = sorted(order[:-validation]), sorted(order[-validation:])
    return FolderDataset(name, labels, files.take(train), files.take(held_out), test)


def _listed(folder: Path) -> tuple[tuple[str, ...], Files]:
    try:
        found = ImageFolder(folder)
    except OSError as error:
        raise DataError(
            f"{folder} holds no image files in class folders: unpack the images as {folder}/<class>/<image>"
        ) from error
    return tuple(found.classes), Files(*zip(*found.samples, strict=True))


class FolderBatches:
    """Shuffled batches of a training split: random resized crops, half of them mirrored.

    Of every batch this process gets the rows `rank`, `rank + world`, …
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
        """Full batches in an epoch; the remainder is left out, a different one each epoch."""
        return len(self.data.train) // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(images float32 [B, 3, size, size], labels int64 [B]) of one epoch from batch `start` on."""
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
        size = self.data.size
        transform = v2.Compose([v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), v2.PILToTensor()])
        images = _Images(self.data.train, transform)
        yield from _loaded(images, batches, self.data.normalisation, self.device, self.loaders)


def evaluation_batches(
    data: FolderDataset, part: Literal["validation", "test"], *, device: torch.device, loaders: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """A held-out split in order: the shorter side resized, the centre cut out."""
    files = data.validation if part == "validation" else data.test
    transform = v2.Compose([v2.Resize(data.resize), v2.CenterCrop(data.size), v2.PILToTensor()])
    keys = [(index, 0) for index in range(len(files))]
    batches = [keys[at : at + EVALUATION_BATCH] for at in range(0, len(keys), EVALUATION_BATCH)]
    yield from _loaded(_Images(files, transform), batches, data.normalisation, device, loaders)


_Key = tuple[int, int]
"""Which file, and the seed its augmentation is drawn from."""

_Item = tuple["Tensor", int] | DataError


class _Images(TorchDataset[_Item]):
    """Decoded and transformed files. A file that cannot be decoded is an item too, so that it crosses
    from a loading process as itself instead of as the text of a traceback."""

    def __init__(self, files: Files, transform: v2.Transform) -> None:
        self.files = files
        self.transform = transform

    def __getitem__(self, key: _Key) -> _Item:
        index, seed = key
        path = self.files.paths[index]
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return DataError(f"{path} is no readable image ({error}): replace or remove it")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pixels: Tensor = self.transform(image)
        return pixels.permute(1, 2, 0), self.files.labels[index]


def _loaded(
    images: _Images,
    batches: list[list[_Key]],
    normalisation: Normalisation,
    device: torch.device,
    loaders: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    loader: DataLoader[Any] = DataLoader(
        images,
        batch_sampler=batches,
        num_workers=loaders,
        # Forking this process would copy its threads' locks in whatever state they are.
        multiprocessing_context="forkserver" if loaders else None,
        collate_fn=_collated,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # else the loader draws from the global one, and resuming would differ
    )
    for batch in loader:
        if isinstance(batch, DataError):
            raise batch
        pixels, labels = batch
        yield normalisation(pixels.to(device, non_blocking=True)), labels.to(device, non_blocking=True)


def _collated(items: list[_Item]) -> tuple[Tensor, Tensor] | DataError:
    pixels, labels = [], []
    for item in items:
        if isinstance(item, DataError):
            return item
        pixels.append(item[0])
        labels.append(item[1])
    return torch.stack(pixels), torch.tensor(labels)
