"""The in-memory data sets, by name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from downshift.trainer.data import cifar, digits, mnist
from downshift.trainer.data.dataset import Dataset, RawDataset, divide
from downshift.trainer.data.download import Download, from_torchvision
from downshift.trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAMES = ("digits", "mnist", "cifar10", "cifar100")


def load(  # noqa: PLR0913 - a recipe's choices, by keyword
    name: str,
    data_dir: Path,
    *,
    validation: int,
    seed: int,
    test: str = "official",
    download: Download | None = from_torchvision,
) -> Dataset:
    """The named data set from `data_dir`, downloaded to it if missing; `download=None` forbids that.

    `validation` training images, drawn by `seed`, are held out for model selection; the test split is for the
    final evaluation only. `test`: "official", or "batch5" for CIFAR-10's data_batch_5. Raises `DataError` in
    one sentence that names the path and the remedy.
    """
    if name not in NAMES:
        raise unknown(name, NAMES)
    source = _read(name, data_dir, test)
    if source is None and download is not None:
        try:
            download(name, data_dir)
        except (OSError, RuntimeError) as error:
            raise DataError(f"{_absent(name, data_dir)}; downloading it failed: {error}") from error
        source = _read(name, data_dir, test)
    if source is None:
        raise DataError(_absent(name, data_dir))
    return divide(name, source, validation=validation, seed=seed)


def unknown(name: str, names: Sequence[str]) -> DataError:
    """The error for a name that is not among `names`, with the closest match."""
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return DataError(f"unknown data set {name!r}: {hint}choose one of {', '.join(names)}")


def _read(name: str, data_dir: Path, test: str) -> RawDataset | None:
    match name:
        case "digits":
            return digits.read(test=test)
        case "mnist":
            return mnist.read(data_dir, test=test)
        case "cifar10":
            return cifar.read(cifar.CIFAR10, data_dir, test=test)
        case _:
            return cifar.read(cifar.CIFAR100, data_dir, test=test)


_WANTED = {
    "mnist": "train-images-idx3-ubyte.gz and its three companions",
    "cifar10": "a complete cifar-10-batches-bin or cifar-10-batches-py",
    "cifar100": "a complete cifar-100-binary or cifar-100-python",
}


def _absent(name: str, data_dir: Path) -> str:
    """Error text: what is missing, what the folder holds instead, and the remedy."""
    if not data_dir.is_dir():
        return f"data folder {data_dir} does not exist: give the one that holds {_WANTED[name]}"
    others = sorted(path.name for path in data_dir.iterdir())[:6]
    found = f"it holds {', '.join(others)}" if others else "it is empty"
    return f"{name} is not in {data_dir} ({found}): put {_WANTED[name]} there"
