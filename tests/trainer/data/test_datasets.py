"""Loading by name: found, downloaded, or refused with one sentence."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from downshift.trainer.data.datasets import NAMES, load
from downshift.trainer.errors import DataError


class FakeArchive:
    """Downloads a tiny MNIST, or fails the way a machine without network does."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem
        self.asked: list[str] = []

    def __call__(self, name: str, folder: Path) -> None:
        self.asked.append(name)
        if self.problem:
            raise self.problem
        folder.mkdir(parents=True, exist_ok=True)
        for part in ("train", "t10k"):
            images = np.random.default_rng(0).integers(0, 256, (9, 28, 28), np.uint8)
            header = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4) for size in images.shape)
            (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
            labels = bytes([0, 0, 8, 1, 0, 0, 0, 9]) + bytes(range(9))
            (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


def test_digits_need_no_files() -> None:
    dataset = load("digits", Path("nowhere"), validation=200, seed=0, download=None)
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [1238, 200, 359]
    assert dataset.shape == (1, 8, 8)
    assert dataset.labels == tuple("0123456789")
    assert dataset.train.images.max() == 255
    assert set(dataset.test.labels.tolist()) == set(range(10))


def test_the_test_split_of_digits_does_not_depend_on_the_seed() -> None:
    first, second = (load("digits", Path(), validation=200, seed=seed).test for seed in (0, 1))
    assert torch.equal(first.images, second.images)


def test_what_is_found_is_not_downloaded(tmp_path: Path) -> None:
    archive = FakeArchive()
    archive("mnist", tmp_path)
    again = FakeArchive(OSError("must not be asked"))
    dataset = load("mnist", tmp_path, validation=3, seed=0, download=again)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (6, 3, 9)
    assert again.asked == []


def test_what_is_missing_is_downloaded_into_the_data_folder(tmp_path: Path) -> None:
    archive = FakeArchive()
    dataset = load("mnist", tmp_path / "new", validation=3, seed=0, download=archive)
    assert archive.asked == ["mnist"]
    assert dataset.name == "mnist"


def test_a_download_that_fails_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"put a complete cifar-100-binary .* failed: no route"):
        load("cifar100", tmp_path, validation=3, seed=0, download=FakeArchive(OSError("no route")))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=f"data folder {tmp_path / 'x'} does not exist: give the one that holds"
    ):
        load("cifar10", tmp_path / "x", validation=3, seed=0, download=None)


def test_a_folder_with_another_data_set_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-binary").mkdir()
    with pytest.raises(
        DataError, match=r"cifar10 is not in .* \(it holds cifar-100-binary\): put a complete"
    ):
        load("cifar10", tmp_path, validation=3, seed=0, download=None)
    with pytest.raises(DataError, match="it is empty"):
        load("cifar10", tmp_path / "cifar-100-binary", validation=3, seed=0, download=None)


@pytest.mark.parametrize("name", ["mnist", "digits"])
def test_only_cifar10_has_another_test_split(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"test 'batch5': the test split of {name} is 'official'"):
        load(name, tmp_path, validation=3, seed=0, test="batch5", download=None)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown data set 'cifar-10': did you mean 'cifar10'") as caught:
        load("cifar-10", tmp_path, validation=3, seed=0)
    assert all(name in str(caught.value) for name in NAMES)
