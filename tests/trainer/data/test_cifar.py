"""CIFAR in both layouts: small synthetic archives, damaged ones, and the real one where it lies at hand."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from downshift.trainer.data import cifar
from downshift.trainer.data.cifar import CIFAR10, CIFAR100, Layout
from downshift.trainer.data.dataset import RawDataset
from downshift.trainer.errors import DataError

PER_FILE = 3


def record(layout: Layout, number: int) -> tuple[int, np.ndarray]:
    """Class and pixel planes of the synthetic image of that number."""
    pixels = np.random.default_rng(number).integers(0, 256, 3 * 32 * 32, np.uint8)
    return number % layout.classes, pixels


def write_binary(parent: Path, layout: Layout) -> Path:
    folder = parent / layout.binary
    folder.mkdir(parents=True)
    for index, name in enumerate((*layout.train, *layout.test)):
        rows = []
        for number in range(index * PER_FILE, (index + 1) * PER_FILE):
            label, pixels = record(layout, number)
            rows.append(bytes([99] * (layout.label_bytes - 1) + [label]) + pixels.tobytes())
        (folder / f"{name}.bin").write_bytes(b"".join(rows))
    return folder


def write_pickled(parent: Path, layout: Layout) -> Path:
    folder = parent / layout.pickled
    folder.mkdir(parents=True)
    for index, name in enumerate((*layout.train, *layout.test)):
        records = [record(layout, number) for number in range(index * PER_FILE, (index + 1) * PER_FILE)]
        batch = {
            "data": np.stack([pixels for _, pixels in records]),
            layout.label_key: [label for label, _ in records],
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return folder


def found(layout: Layout, data_dir: Path, test: str = "official") -> RawDataset:
    source = cifar.read(layout, data_dir, test=test)
    assert source is not None
    return source


@pytest.mark.parametrize("layout", [CIFAR10, CIFAR100], ids=lambda layout: layout.name)
@pytest.mark.parametrize("write", [write_binary, write_pickled])
def test_images_are_rows_of_pixels_in_file_order(layout: Layout, write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path, layout)
    source = found(layout, tmp_path)
    count = PER_FILE * len(layout.train)
    assert source.train.images.shape == (count, 32, 32, 3)
    assert source.train.images.dtype == torch.uint8
    assert source.train.labels.tolist() == [number % layout.classes for number in range(count)]
    label, pixels = record(layout, count + 1)
    assert source.test.labels[1] == label
    row, column, channel = 5, 30, 2
    assert source.test.images[1, row, column, channel] == pixels[channel * 1024 + row * 32 + column]


def test_batch5_tests_on_the_fifth_file_and_needs_no_official_one(tmp_path: Path) -> None:
    folder = write_binary(tmp_path, CIFAR10)
    (folder / "test_batch.bin").unlink()
    source = found(CIFAR10, tmp_path, "batch5")
    assert source.train.labels.tolist() == [number % 10 for number in range(12)]
    assert source.test.labels.tolist() == [2, 3, 4]


def test_the_archives_own_folder_is_as_good_as_its_parent(tmp_path: Path) -> None:
    folder = write_binary(tmp_path, CIFAR10)
    assert torch.equal(found(CIFAR10, folder).train.images, found(CIFAR10, tmp_path).train.images)


def test_the_binary_layout_is_preferred_so_that_nothing_is_unpickled(tmp_path: Path) -> None:
    write_binary(tmp_path, CIFAR10)
    pickles = write_pickled(tmp_path, CIFAR10)
    for file in pickles.iterdir():
        file.write_bytes(b"never read")
    assert len(found(CIFAR10, tmp_path).train) == 15


def test_an_incomplete_binary_folder_gives_way_to_a_complete_python_one(tmp_path: Path) -> None:
    (write_binary(tmp_path, CIFAR10) / "test_batch.bin").unlink()
    assert cifar.read(CIFAR10, tmp_path, test="official") is None
    write_pickled(tmp_path, CIFAR10)
    assert len(found(CIFAR10, tmp_path).test) == PER_FILE


def test_class_names_come_from_the_archive_or_are_known(tmp_path: Path) -> None:
    folder = write_binary(tmp_path, CIFAR10)
    assert found(CIFAR10, tmp_path).labels[:2] == ("airplane", "automobile")
    (folder / "batches.meta.txt").write_text("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n")
    assert found(CIFAR10, tmp_path).labels == tuple("abcdefghij")
    (folder / "batches.meta.txt").write_text("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n", encoding="utf-8-sig")
    assert found(CIFAR10, tmp_path).labels[0] == "a"
    (folder / "batches.meta.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"batches\.meta\.txt is no UTF-8 text: unpack"):
        cifar.read(CIFAR10, tmp_path, test="official")
    (folder / "batches.meta.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"batches\.meta\.txt does not name 10 classes"):
        cifar.read(CIFAR10, tmp_path, test="official")


def test_class_names_of_the_python_layout(tmp_path: Path) -> None:
    folder = write_pickled(tmp_path, CIFAR100)
    assert found(CIFAR100, tmp_path).labels == tuple(map(str, range(100)))
    names = [f"class-{index}" for index in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}, protocol=2))
    assert found(CIFAR100, tmp_path).labels == tuple(names)


def test_an_absent_data_set_is_none(tmp_path: Path) -> None:
    assert cifar.read(CIFAR10, tmp_path, test="official") is None
    assert cifar.read(CIFAR10, tmp_path / "nowhere", test="official") is None


@pytest.mark.parametrize(("layout", "test"), [(CIFAR10, "batch6"), (CIFAR100, "batch5")])
def test_a_test_split_that_does_not_exist_is_named(layout: Layout, test: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"test '{test}': the test split of {layout.name} is 'official'"):
        cifar.read(layout, tmp_path, test=test)


@pytest.mark.parametrize("size", [0, 1, 3 * 3073 - 1])
def test_a_truncated_binary_file_is_named(size: int, tmp_path: Path) -> None:
    path = write_binary(tmp_path, CIFAR10) / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match=rf"data_batch_2\.bin has {size} bytes.*unpack the archive again"):
        cifar.read(CIFAR10, tmp_path, test="official")


def test_a_class_out_of_range_is_named(tmp_path: Path) -> None:
    path = write_binary(tmp_path, CIFAR10) / "data_batch_3.bin"
    path.write_bytes(b"\x0b" + path.read_bytes()[1:])
    with pytest.raises(
        DataError, match=r"data_batch_3\.bin holds the label 11, but cifar10 has classes 0 to 9"
    ):
        cifar.read(CIFAR10, tmp_path, test="official")


class Attack:
    """Pickles to a call of os.system."""

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.system, ("false",)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is truncated or not cifar10"),
        (b"\x80\x02}", "is truncated or not cifar10"),
        (b"not a pickle", "is truncated or not cifar10"),
        (pickle.dumps(Attack()), "asks for .*system"),
        (pickle.dumps([1]), "is not cifar10"),
        (pickle.dumps({"data": 1, "labels": [1]}), "is not a batch of cifar10"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}), "is not a batch of cifar10"),
        (pickle.dumps({"data": np.zeros((1, 3071), np.uint8), "labels": [1]}), "is not a batch of cifar10"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.float32), "labels": [1]}), "is not a batch of cifar10"),
        (
            pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "fine_labels": [1]}),
            "is not a batch of cifar10",
        ),
        (
            pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": ["cat"]}),
            "a label that is no integer",
        ),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [-1]}), "the label -1"),
    ],
)
def test_a_pickle_that_is_no_batch_is_refused_and_runs_nothing(
    content: bytes, problem: str, tmp_path: Path
) -> None:
    (write_pickled(tmp_path, CIFAR10) / "data_batch_4").write_bytes(content)
    with pytest.raises(DataError, match=f"data_batch_4 .*{problem}"):
        cifar.read(CIFAR10, tmp_path, test="official")


def test_the_real_archive() -> None:
    data_dir = Path(os.environ.get("TEST_DATA_DIR", "data"))
    source = cifar.read(CIFAR10, data_dir, test="batch5") if data_dir.is_dir() else None
    if source is None:
        pytest.skip(f"no unpacked CIFAR-10 in {data_dir}; TEST_DATA_DIR names the folder that holds it")
    assert (len(source.train), len(source.test)) == (40_000, 10_000)
    assert source.train.labels[:5].tolist() == [6, 9, 9, 4, 1]
    assert source.train.images[0, 0, 0].tolist() == [59, 62, 63]
