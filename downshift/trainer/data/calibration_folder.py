"""A folder of images to calibrate on: in class folders, as for training, or plain images without labels.

FOLDER/train/<class>/*.jpg    as training reads it; `val` beside it is left alone
FOLDER/<class>/*.jpg          the classes alone
FOLDER/*.jpg                  no classes, so no accuracy can be measured
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from downshift.trainer.data.class_folders import (
    Files,
    has_folders,
    list_class_folders,
    list_images,
    printable,
)
from downshift.trainer.data.dataset import VALIDATION
from downshift.trainer.data.image_folder import EvaluationTransform, divide
from downshift.trainer.data.image_loader import load_batches
from downshift.trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from downshift.models.spec import InputSpec

BATCH = 32
SHOWN = 3  # names listed in one message


@dataclass(frozen=True)
class CalibrationFolder:
    """Files to calibrate on, and others with labels to validate on; None where there are no classes."""

    calibration: Files
    validation: Files | None


def read(
    folder: Path, labels: Sequence[str], *, images: int, validation: int, seed: int
) -> CalibrationFolder:
    """At most `images` files to calibrate on, and the validation split, drawn by `seed` as for training.

    labels: the network's classes, by number; class folders must be exactly these. validation: how many files
    validate; for 0, or as many as there are or more, a fifth of them, at most the usual 5,000. Raises
    `DataError` naming the folder or class that is wrong.
    """
    if not folder.is_dir():
        raise DataError(f"{printable(str(folder))} is no folder: give one that holds images")
    root = folder / "train" if (folder / "train").is_dir() else folder
    if not has_folders(root):
        files = list_images(root)
        return CalibrationFolder(files.take(_drawn(len(files), seed)[:images]), None)
    names, files = list_class_folders(root)
    _check_classes(root, names, labels)
    if len(files) < 2:  # noqa: PLR2004 - one for each purpose
        raise DataError(f"{printable(str(root))} holds one image: one to calibrate on and one to validate on")
    numbers = {name: number for number, name in enumerate(labels)}
    files = Files(files.paths, tuple(numbers[names[label]] for label in files.labels))
    size = validation if 0 < validation < len(files) else max(1, min(VALIDATION, len(files) // 5))
    train, held_out = divide(files, size, seed)
    return CalibrationFolder(train.take(_drawn(len(train), seed)[:images]), held_out)


def pixels(
    files: Files, image: InputSpec, report: Callable[[float], None]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 [N, H, W, C] as the server would read the files, and the class of each; N >= 1.

    report: called with the share that is read. Raises `DataError` naming a file that cannot be read.
    """
    keys = [(index, 0) for index in range(len(files))]
    batches = [keys[at : at + BATCH] for at in range(0, len(keys), BATCH)]
    found = []
    view, cpu = EvaluationTransform(image), torch.device("cpu")
    for batch in load_batches(files, view, batches, device=cpu, loaders=0):
        found.append(batch)
        report(len(found) / len(batches))
    return torch.cat([one for one, _ in found]).numpy(), torch.cat([label for _, label in found]).numpy()


def _check_classes(folder: Path, names: Sequence[str], labels: Sequence[str]) -> None:
    shown = printable(str(folder))
    for odd, problem in (
        (sorted(set(names) - set(labels)), "which the model does not have as classes"),
        (sorted(set(labels) - set(names)), "missing among its class folders"),
    ):
        if odd:
            listed = ", ".join(map(printable, odd[:SHOWN])) + (", …" if len(odd) > SHOWN else "")
            raise DataError(
                f"{shown} against the model's {len(labels)} classes: {listed}, {problem}; rename the "
                "folders, or give plain images without folders to calibrate without accuracy"
            )


def _drawn(count: int, seed: int) -> list[int]:
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return order
