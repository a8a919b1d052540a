"""Batches of image files, decoded by `loaders` processes with the server's image reader."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from downshift.models.images.errors import ImageError
from downshift.trainer.data.class_folders import printable
from downshift.trainer.data.loading_process import batches_of, check_shared_memory, end_with_trainer, share
from downshift.trainer.errors import DataError, TrainerError, WorkerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from downshift.trainer.data.class_folders import Files


class Transform(Protocol):
    """Decodes and augments one file: `transform(data)` is uint8 [H, W, C], of equal size for every file.

    Random transforms draw from torch's global generator, seeded before each call. Must be picklable.
    """

    def __call__(self, data: bytes) -> Tensor:
        """uint8 [H, W, C] of a file's bytes; raises `ImageError`."""


EVALUATION_BATCH = 250

Key = tuple[int, int]
"""(index of the file, seed of its augmentation)."""

_Item = tuple["Tensor", int] | DataError


def load_batches(
    files: Files,
    transform: Transform,
    batches: list[list[Key]],
    *,
    device: torch.device,
    loaders: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """(images uint8 [B, H, W, C], labels int64 [B]) of each batch in turn, on `device`.

    Raises `DataError` naming a file that cannot be read, `WorkerError` when a loading process ends or hangs,
    or shared memory is too small for the batches.
    """
    images = _Images(files, transform)
    if loaders and batches:
        check_shared_memory(_batch_bytes(images, batches), loaders)
    loader: DataLoader[Any] = DataLoader(
        images,
        batch_sampler=batches,
        num_workers=loaders,
        # Plain fork would copy locks that other threads of this process hold.
        multiprocessing_context="forkserver" if loaders else None,
        worker_init_fn=end_with_trainer,
        collate_fn=_collated,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # the global one would advance, and resuming would not be bit-exact
    )
    for batch in batches_of(loader):
        if isinstance(batch, TrainerError):
            raise batch
        pixels, labels = batch
        yield pixels.to(device, non_blocking=True), labels.to(device, non_blocking=True)


class _Images(TorchDataset[_Item]):
    """Decoded and transformed files. A decoding error is returned as an item, so that it arrives from a
    loading process as a typed error instead of the text of a traceback."""

    def __init__(self, files: Files, transform: Transform) -> None:
        self.files = files
        self.transform = transform

    def __getitem__(self, key: Key) -> _Item:
        index, seed = key
        path = self.files.paths[index]
        try:
            data = Path(path).read_bytes()
            with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
                warnings.filterwarnings("ignore", module=r"PIL\.")  # about metadata, not pixels
                torch.manual_seed(seed)
                return self.transform(data), self.files.labels[index]
        except (ImageError, OSError) as error:
            return unreadable(path, error)


def unreadable(path: str, error: ImageError | OSError) -> DataError:
    """The error for a file that cannot be decoded."""
    reason = error.problem if isinstance(error, ImageError) else error.strerror
    return DataError(f"{printable(path)} is no readable image ({reason}): replace or remove it")


def _collated(items: list[_Item]) -> tuple[Tensor, Tensor] | TrainerError:
    pixels, labels = [], []
    for item in items:
        if isinstance(item, DataError):
            return item
        pixels.append(item[0])
        labels.append(item[1])
    try:
        return share(torch.stack(pixels)), share(torch.tensor(labels))
    except RuntimeError as error:
        return WorkerError(f"no shared memory is left ({error}): enlarge /dev/shm, or --set data.workers=0")


def _batch_bytes(images: _Images, batches: list[list[Key]]) -> int:
    """Bytes of the largest batch that training or evaluation loads."""
    first = images[batches[0][0]]
    if isinstance(first, DataError):
        raise first
    rows = max(*map(len, batches), min(EVALUATION_BATCH, len(images.files)))
    return rows * first[0].numel() * first[0].element_size()
