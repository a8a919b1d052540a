"""CIFAR-10 and CIFAR-100 from their unpacked archives: the binary layout, or else Python's.

No checksums, so repacked copies work. The binary files are preferred, as they are plain bytes; the Python
files are pickles, read by a restricted unpickler that can build arrays and nothing else.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch

from downshift.trainer.data.dataset import RawDataset, Split
from downshift.trainer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Layout:
    """File layout of one of the two data sets; file names without the binary layout's `.bin`."""

    name: str
    binary: str
    pickled: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_bytes: int
    label_key: str
    label_names: tuple[str, str, str]
    """Text file of the binary layout, pickle of the Python layout, and the key in that pickle."""
    classes: int


_BATCHES = tuple(f"data_batch_{index}" for index in range(1, 6))

CIFAR10 = Layout(
    name="cifar10",
    binary="cifar-10-batches-bin",
    pickled="cifar-10-batches-py",
    train=_BATCHES,
    test=("test_batch",),
    label_bytes=1,
    label_key="labels",
    label_names=("batches.meta.txt", "batches.meta", "label_names"),
    classes=10,
)
CIFAR100 = Layout(
    name="cifar100",
    binary="cifar-100-binary",
    pickled="cifar-100-python",
    train=("train",),
    test=("test",),
    label_bytes=2,  # coarse, then fine; the fine label is the class
    label_key="fine_labels",
    label_names=("fine_label_names.txt", "meta", "fine_label_names"),
    classes=100,
)
_CIFAR10_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def read(layout: Layout, data_dir: Path, *, test: str) -> RawDataset | None:
    """The data set under `data_dir` (the archive's folder or its parent), or None when it is not there.

    `test` is "official", or for CIFAR-10 "batch5": data_batch_5 is the test split, the other four train.
    Raises `DataError` naming the file that is damaged or has other content than its name says.
    """
    train_files, test_files = layout.train, layout.test
    if test == "batch5" and layout is CIFAR10:
        train_files, test_files = _BATCHES[:4], _BATCHES[4:]
    elif test != "official":
        known = "'official' or 'batch5'" if layout is CIFAR10 else "'official'"
        raise DataError(f"test {test!r}: the test split of {layout.name} is {known}")
    for folder_name, suffix, read_file, read_labels in (
        (layout.binary, ".bin", _binary_split, _binary_labels),
        (layout.pickled, "", _pickled_split, _pickled_labels),
    ):
        folder = data_dir if data_dir.name == folder_name else data_dir / folder_name
        paths = {name: folder / (name + suffix) for name in (*train_files, *test_files)}
        if all(path.is_file() for path in paths.values()):
            return RawDataset(
                read_labels(folder, layout),
                _joined([read_file(paths[name], layout) for name in train_files]),
                _joined([read_file(paths[name], layout) for name in test_files]),
            )
    return None


def _joined(parts: list[Split]) -> Split:
    return Split(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))


def _split(path: Path, layout: Layout, planes: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Split:
    """A split from uint8 [N, 3072] in channel-row-column order and N labels; checks the labels' range."""
    if labels.size and not 0 <= labels.min() <= labels.max() < layout.classes:
        wrong = labels.max() if labels.max() >= layout.classes else labels.min()
        raise DataError(
            f"{path} holds the label {wrong}, but {layout.name} has classes 0 to {layout.classes - 1}: "
            f"unpack the archive of {layout.name} there"
        )
    images = torch.from_numpy(planes.reshape(-1, 3, 32, 32)).permute(0, 2, 3, 1).contiguous()
    return Split(images, torch.from_numpy(labels.astype(np.int64)))


def _binary_split(path: Path, layout: Layout) -> Split:
    record = layout.label_bytes + _PIXELS
    data = np.fromfile(path, np.uint8)
    if data.size == 0 or data.size % record:
        raise DataError(
            f"{path} has {data.size} bytes, which is no multiple of a record's {record}: "
            f"it is truncated or not {layout.name}; unpack the archive again"
        )
    rows = data.reshape(-1, record)
    return _split(path, layout, rows[:, layout.label_bytes :], rows[:, layout.label_bytes - 1])


def _binary_labels(folder: Path, layout: Layout) -> tuple[str, ...]:
    path = folder / layout.label_names[0]
    try:
        names = path.read_text(encoding="utf-8-sig").split() if path.is_file() else ()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text: unpack the archive of {layout.name} there") from error
    return _labels(path, layout, names)


def _pickled_split(path: Path, layout: Layout) -> Split:
    entry = _unpickled(path, layout)
    data, labels = entry.get("data"), entry.get(layout.label_key)
    if (
        not isinstance(data, np.ndarray)
        or not isinstance(labels, list)
        or data.dtype != np.uint8
        or data.shape != (len(labels), _PIXELS)
        or not labels
    ):
        raise DataError(f"{path} is not a batch of {layout.name}: unpack the archive of {layout.name} there")
    if not all(type(label) is int for label in labels):
        raise DataError(f"{path} holds a label that is no integer: unpack the archive of {layout.name} there")
    return _split(path, layout, data, np.asarray(labels))


def _pickled_labels(folder: Path, layout: Layout) -> tuple[str, ...]:
    _, file, key = layout.label_names
    path = folder / file
    names = _unpickled(path, layout).get(key) if path.is_file() else ()
    return _labels(path, layout, names)


def _labels(path: Path, layout: Layout, names: object) -> tuple[str, ...]:
    """Class names read from `path`; without any, CIFAR-10's published ones, or numbers."""
    if not names:
        return _CIFAR10_LABELS if layout is CIFAR10 else tuple(map(str, range(layout.classes)))
    if not isinstance(names, list) or len(names) != layout.classes:
        raise DataError(
            f"{path} does not name {layout.classes} classes: unpack the archive of {layout.name} there"
        )
    return tuple(map(str, names))


class _ArrayUnpickler(pickle.Unpickler):
    """A restricted unpickler: lists, dictionaries, strings, numbers and numpy arrays, no other name."""

    _ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """The function or class of that name if the allow-list has it; raises `UnpicklingError` else."""
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _unpickled(path: Path, layout: Layout) -> dict[Any, Any]:
    try:
        with path.open("rb") as file:
            entry = _ArrayUnpickler(file).load()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"{path} is truncated or not {layout.name} ({error}): unpack the archive again"
        ) from error
    if not isinstance(entry, dict):
        raise DataError(f"{path} is not {layout.name}: unpack the archive of {layout.name} there")
    return entry
