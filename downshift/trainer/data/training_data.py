"""Training data of a run, in memory or decoded from files: batches, labels, preprocessing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from downshift.models.spec import InputSpec
from downshift.trainer.data import datasets, image_folder
from downshift.trainer.data.batches import Batches, evaluation_batches
from downshift.trainer.data.image_check import check_images
from downshift.trainer.data.image_folder import FolderBatches, FolderDataset
from downshift.trainer.data.normalisation import Normalisation
from downshift.trainer.errors import RecipeError
from downshift.trainer.graph import INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from downshift.trainer.data.dataset import Dataset
    from downshift.trainer.parallel import Workers
    from downshift.trainer.recipe import DataChoice, Recipe

Part = Literal["validation", "test"]
FOLDERS = ("imagenet", "folder")
NAMES = (*datasets.NAMES, *FOLDERS)


class TrainingData(Protocol):
    """Batches of (images float32 [B, C, H, W] normalised, labels int64 [B]) on the run's device."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, by class index."""

    @property
    def image(self) -> InputSpec:
        """Preprocessing from image to network input, in evaluation and serving."""

    @property
    def validation_images(self) -> int:
        """Images in the validation split."""

    @property
    def class_counts(self) -> Tensor:
        """Training images of every class, int64 [classes]."""

    def __len__(self) -> int:
        """Training batches per epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """This worker's shard of an epoch's training batches, from batch `start` on."""

    def calibration(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Unsharded training batches, the same on every worker, to recalibrate BatchNorm."""

    def held_out(self, part: Part) -> Iterator[tuple[Tensor, Tensor]]:
        """A held-out split, in order; model selection uses `validation` only."""


def load(recipe: Recipe, data_dir: Path, device: torch.device, workers: Workers) -> TrainingData:
    """The recipe's data set; raises `DataError` or `RecipeError` naming the fault."""
    choice = recipe.data
    if choice.name not in NAMES:
        raise datasets.unknown(choice.name, NAMES)
    if choice.name not in FOLDERS:
        _check_settled(choice, size=(0,), grey=(False,))
        data = datasets.load(
            choice.name, data_dir, validation=choice.validation, seed=recipe.run.seed, test=choice.test
        )
        return InMemory(recipe, data, device, workers)
    _check_settled(choice, augment=("none", "randaugment"), test=("official",))
    files = image_folder.read(choice.name, data_dir, validation=choice.validation, seed=recipe.run.seed)
    size = choice.size or image_folder.SIZE
    files = replace(
        files,
        normalisation=image_folder.GREY if choice.grey else image_folder.IMAGENET,
        size=size,
        resize=round(size * image_folder.RESIZE / image_folder.SIZE),
        randaugment=choice.augment == "randaugment",
    )
    check_images(files, loaders=choice.workers, rank=workers.rank, world=workers.world)
    return InFolders(recipe, files, device, workers)


def _check_settled(choice: DataChoice, **allowed: tuple[object, ...]) -> None:
    """Raise `RecipeError` for a key whose value is not allowed, as the data set itself settles it."""
    for key, values in allowed.items():
        value = getattr(choice, key)
        if value not in values:
            raise RecipeError(
                f"recipe key data.{key} = {value!r}: {choice.name} has its own; leave the key out"
            )


class InMemory:
    """A data set held on the device as uint8."""

    def __init__(self, recipe: Recipe, data: Dataset, device: torch.device, workers: Workers) -> None:
        augment = recipe.data.augment
        if augment == "randaugment":
            raise RecipeError(
                f"recipe key data.augment = {augment!r}: for image folders only; choose crop-flip"
            )
        self.labels = data.labels
        self.image = InputSpec(INPUT, *data.shape, data.mean, data.std)
        self._workers = workers
        self.validation_images = len(data.validation)
        self.class_counts = torch.bincount(data.train.labels, minlength=len(data.labels))
        self._splits = {"validation": data.validation.to(device), "test": data.test.to(device)}
        self._normalisation = Normalisation(data.mean, data.std)
        self._batches = Batches(
            data.train.to(device),
            batch_size=recipe.run.batch_size,
            normalisation=self._normalisation,
            augment=augment,
            seed=recipe.run.seed,
        )

    def __len__(self) -> int:
        """Training batches in an epoch."""
        return len(self._batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """This worker's rows of an epoch's training batches, from batch `start` on."""
        for images, labels in self._batches.epoch(epoch, start):
            yield self._workers.share(images), self._workers.share(labels)

    def calibration(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Whole training batches, the same for every worker."""
        return self._batches.epoch(epoch)

    def held_out(self, part: Part) -> Iterator[tuple[Tensor, Tensor]]:
        """A held-out split, in order."""
        return evaluation_batches(self._splits[part], self._normalisation)


class InFolders:
    """A data set of image files, decoded by `data.workers` processes; each worker decodes its shard only."""

    def __init__(self, recipe: Recipe, data: FolderDataset, device: torch.device, workers: Workers) -> None:
        self.labels = data.labels
        self.image = data.image
        self.validation_images = len(data.validation)
        self.class_counts = torch.bincount(torch.tensor(data.train.labels), minlength=len(data.labels))
        self._recipe = recipe
        self._data = data
        self._device = device
        self._batches = self._rows(workers.rank, workers.world)

    def __len__(self) -> int:
        """Training batches in an epoch."""
        return len(self._batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """This worker's rows of an epoch's training batches, from batch `start` on."""
        return self._batches.epoch(epoch, start)

    def calibration(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Whole training batches, the same for every worker."""
        return self._rows(0, 1).epoch(epoch)

    def held_out(self, part: Part) -> Iterator[tuple[Tensor, Tensor]]:
        """A held-out split, in order."""
        return image_folder.evaluation_batches(
            self._data, part, device=self._device, loaders=self._recipe.data.workers
        )

    def _rows(self, rank: int, world: int) -> FolderBatches:
        run = self._recipe.run
        return FolderBatches(
            self._data,
            batch_size=run.batch_size,
            seed=run.seed,
            device=self._device,
            loaders=self._recipe.data.workers,
            rank=rank,
            world=world,
        )
