"""MNIST from its four idx files, gzipped or not."""

from __future__ import annotations

import gzip
import math
import zlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from downshift.trainer.data.dataset import RawDataset, Split
from downshift.trainer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

_LABELS = tuple(map(str, range(10)))
_FOLDERS = ("", "mnist", "MNIST/raw")


def read(data_dir: Path, *, test: str) -> RawDataset | None:
    """The data set under `data_dir` (there, in `mnist`, or where torchvision puts it), or None.

    Raises `DataError` naming the file that is damaged or has other content than its name says.
    """
    if test != "official":
        raise DataError(f"test {test!r}: the test split of mnist is 'official'")
    for folder in (data_dir / name for name in _FOLDERS):
        train, official = _paths(folder, "train"), _paths(folder, "t10k")
        if train and official:
            return RawDataset(_LABELS, _split(*train), _split(*official))
    return None


def _paths(folder: Path, part: str) -> tuple[Path, Path] | None:
    """Paths of the image and label files of one split; None if one is missing."""
    found = [
        path
        for name in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
        for path in (folder / name, folder / f"{name}.gz")
        if path.is_file()
    ]
    images = [path for path in found if "idx3" in path.name]
    labels = [path for path in found if "idx1" in path.name]
    return (images[0], labels[0]) if images and labels else None


def _split(images_path: Path, labels_path: Path) -> Split:
    images, labels = read_idx(images_path, dimensions=3), read_idx(labels_path, dimensions=1)
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} has {len(images)} images, {labels_path} {len(labels)} labels: "
            f"they belong to different data sets; download mnist again"
        )
    if labels.max() >= len(_LABELS):
        raise DataError(
            f"{labels_path} holds the label {labels.max()}, but mnist has classes 0 to 9: "
            f"put the files of mnist there"
        )
    return Split(torch.from_numpy(images)[..., None], torch.from_numpy(labels.astype(np.int64)))


def read_idx(path: Path, *, dimensions: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The uint8 array in an idx file, of that many dimensions and at least one element.

    Format: two zero bytes, 0x08 for uint8, the number of dimensions, their sizes as big-endian uint32, data.
    Raises `DataError` for anything else.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * dimensions)
            sizes = [int.from_bytes(header[at : at + 4]) for at in range(4, 4 + 4 * dimensions, 4)]
            expected = math.prod(sizes)
            plausible = header[:4] == bytes([0, 0, 8, dimensions]) and 0 < expected < 1 << 31
            data = file.read(expected + 1) if plausible else b""
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): download mnist again") from error
    if not plausible:
        raise DataError(f"{path} is no idx file of {dimensions} dimensions: put the files of mnist there")
    if len(data) != expected:
        raise DataError(
            f"{path} should hold {'x'.join(map(str, sizes))} bytes and does not: download mnist again"
        )
    return np.frombuffer(bytearray(data), np.uint8).reshape(sizes)
