"""MNIST's idx files: synthetic, damaged, and the real ones where they lie at hand."""

import gzip
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from downshift.trainer.data import mnist
from downshift.trainer.errors import DataError

packed = partial(gzip.compress, mtime=0)  # the same bytes, and test names, whenever it is collected


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4) for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write(folder: Path, *, gzipped: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 6), ("t10k", 4)):
        images = np.arange(count * 28 * 28).reshape(count, 28, 28) % 251
        for name, array in (("images-idx3", images), ("labels-idx1", np.arange(count))):
            path = folder / f"{part}-{name}-ubyte"
            if gzipped:
                path.with_name(path.name + ".gz").write_bytes(packed(idx(array)))
            else:
                path.write_bytes(idx(array))


@pytest.mark.parametrize("folder", ["", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("gzipped", [True, False])
def test_the_files_are_found_where_people_put_them(folder: str, gzipped: bool, tmp_path: Path) -> None:
    write(tmp_path / folder, gzipped=gzipped)
    source = mnist.read(tmp_path, test="official")
    assert source is not None
    assert source.train.images.shape == (6, 28, 28, 1)
    assert source.train.images.dtype == torch.uint8
    assert source.train.images[1, 0, :3, 0].tolist() == [784 % 251, 785 % 251, 786 % 251]
    assert source.test.labels.tolist() == [0, 1, 2, 3]
    assert source.labels == tuple("0123456789")


def test_absent_or_incomplete_files_are_none(tmp_path: Path) -> None:
    assert mnist.read(tmp_path, test="official") is None
    write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    assert mnist.read(tmp_path, test="official") is None


def test_only_the_official_test_split_exists(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="test 'batch5': the test split of mnist is 'official'"):
        mnist.read(tmp_path, test="batch5")


IMAGES = idx(np.zeros((6, 28, 28)))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("train-images-idx3-ubyte", b"plain text", "cannot be read .*gzip"),
        ("train-images-idx3-ubyte", packed(IMAGES)[:-20], "cannot be read"),
        ("train-images-idx3-ubyte", packed(b""), "is no idx file of 3 dimensions"),
        ("train-images-idx3-ubyte", packed(idx(np.zeros(6))), "is no idx file of 3 dimensions"),
        ("train-images-idx3-ubyte", packed(idx(np.zeros((0, 28, 28)))), "is no idx file"),
        ("train-images-idx3-ubyte", packed(bytes([0, 0, 8, 3]) + b"\xff" * 12), "is no idx file"),
        ("train-images-idx3-ubyte", packed(IMAGES[:-1]), "should hold 6x28x28 bytes and does not"),
        ("train-images-idx3-ubyte", packed(IMAGES + b"\0"), "should hold 6x28x28 bytes and does not"),
        ("train-labels-idx1-ubyte", packed(idx(np.arange(5))), "has 6 images, .* 5 labels"),
        ("t10k-labels-idx1-ubyte", packed(idx(np.array([0, 1, 10, 2]))), "holds the label 10"),
    ],
)
def test_a_damaged_file_is_named(name: str, content: bytes, problem: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / f"{name}.gz").write_bytes(content)
    with pytest.raises(DataError, match=problem) as caught:
        mnist.read(tmp_path, test="official")
    assert f"{tmp_path / name}.gz" in str(caught.value)


def test_the_real_files() -> None:
    data_dir = Path(os.environ.get("TEST_DATA_DIR", "data"))
    source = mnist.read(data_dir, test="official")
    if source is None:
        pytest.skip(f"no MNIST in {data_dir}; TEST_DATA_DIR names the folder that holds it")
    assert (len(source.train), len(source.test)) == (60_000, 10_000)
    assert source.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert source.train.images[0].long().sum() == 27_525
