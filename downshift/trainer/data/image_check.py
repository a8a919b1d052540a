"""Validates image files before the first training step, as far as that is cheap."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from downshift.models.images.errors import ImageError
from downshift.models.images.reader import MAGIC, format_of
from downshift.trainer.data.image_folder import EvaluationTransform
from downshift.trainer.data.image_loader import EVALUATION_BATCH, load_batches, unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.trainer.data.image_folder import FolderDataset

THREADS = 16  # concurrent opens, to hide the latency of network file systems
CHUNK = 500  # files per task


def check_images(data: FolderDataset, *, loaders: int, rank: int = 0, world: int = 1) -> None:
    """Raise `DataError` naming a file that cannot be read; each of `world` processes checks its own share.

    Training files: the magic number only, as the first epoch decodes them anyway. Held-out files are decoded
    in full: the test split would otherwise fail after the last epoch.
    """
    mine = slice(rank, None, world)
    paths = data.train.paths[mine]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="downshift-check") as pool:
        for _ in pool.map(_check_headers, (paths[at : at + CHUNK] for at in range(0, len(paths), CHUNK))):
            pass
    cpu, transform = torch.device("cpu"), EvaluationTransform(data.image)
    for files in (data.validation, data.test):
        keys = [(index, 0) for index in range(len(files))][mine]
        batches = [keys[at : at + EVALUATION_BATCH] for at in range(0, len(keys), EVALUATION_BATCH)]
        for _ in load_batches(files, transform, batches, device=cpu, loaders=loaders):
            pass


def _check_headers(paths: Sequence[str]) -> None:
    for path in paths:
        try:
            with Path(path).open("rb") as file:
                format_of(file.read(MAGIC))
        except (ImageError, OSError) as error:
            raise unreadable(path, error) from None
