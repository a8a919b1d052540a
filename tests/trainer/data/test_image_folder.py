"""Folders of images: splits, crops that depend on (seed, epoch) alone, and files that are no images."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from downshift.trainer.data.image_folder import (
    GREY,
    IMAGENET,
    FolderBatches,
    FolderDataset,
    evaluation_batches,
    read,
)
from downshift.trainer.errors import DataError

CPU = torch.device("cpu")
TRAIN, TEST = 9, 3


def write(folder: Path, *, classes: tuple[str, ...] = ("cat", "dog")) -> None:
    """Images of a gradient that starts at the image's number, 20 x 30 pixels or upright."""
    for part, count in (("train", TRAIN), ("val", TEST)):
        for label, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                ramp = torch.arange(20 * 30).reshape(20, 30) % 97 + number + 20 * label
                pixels = (ramp if number % 2 else ramp.T).to(torch.uint8).contiguous().numpy()
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")


@pytest.fixture
def data(tmp_path: Path) -> FolderDataset:
    write(tmp_path)
    found = read("imagenet", tmp_path, validation=4, seed=0)
    return FolderDataset(
        found.name, found.labels, found.train, found.validation, found.test, size=8, resize=10
    )


def batches(
    data: FolderDataset, *, loaders: int = 0, seed: int = 1, rank: int = 0, world: int = 1
) -> FolderBatches:
    return FolderBatches(data, batch_size=4, seed=seed, device=CPU, loaders=loaders, rank=rank, world=world)


def same(left: list[tuple[Tensor, Tensor]], right: list[tuple[Tensor, Tensor]]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(left, right, strict=True)
    )


def test_splits_are_a_partition_of_train_and_all_of_val(data: FolderDataset) -> None:
    assert data.labels == ("cat", "dog")
    assert [len(files) for files in (data.train, data.validation, data.test)] == [14, 4, 6]
    assert len({*data.train.paths, *data.validation.paths}) == 18
    for files in (data.train, data.validation, data.test):
        named = [data.labels.index(Path(path).parent.name) for path in files.paths]
        assert list(files.labels) == named


def test_the_folder_may_be_named_after_the_data_set(tmp_path: Path) -> None:
    write(tmp_path / "imagenet")
    assert read("imagenet", tmp_path, validation=4, seed=0).labels == ("cat", "dog")


def test_a_training_batch_has_the_networks_shape_and_varies_in_its_crops(data: FolderDataset) -> None:
    epoch = list(batches(data).epoch(0))
    assert len(epoch) == len(batches(data)) == 3
    assert all(images.shape == (4, 3, 8, 8) and images.dtype == torch.float32 for images, _ in epoch)
    assert all(labels.shape == (4,) and labels.dtype == torch.int64 for _, labels in epoch)


def test_an_epoch_depends_on_seed_and_epoch_alone(data: FolderDataset) -> None:
    torch.manual_seed(1)
    epoch = list(batches(data).epoch(2))
    torch.manual_seed(2)
    assert same(epoch, list(batches(data).epoch(2)))
    assert not same(epoch, list(batches(data).epoch(3)))
    assert not same(epoch, list(batches(data, seed=2).epoch(2)))


def test_the_number_of_loading_processes_changes_nothing(data: FolderDataset) -> None:
    assert same(list(batches(data).epoch(0)), list(batches(data, loaders=1).epoch(0)))


def test_an_epoch_resumed_in_the_middle_is_the_rest_of_it(data: FolderDataset) -> None:
    assert same(list(batches(data).epoch(1))[2:], list(batches(data).epoch(1, start=2)))


def test_loading_leaves_the_global_generator_alone(data: FolderDataset) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    list(batches(data).epoch(0))
    assert torch.equal(before, torch.get_rng_state())


def test_the_processes_of_a_run_share_each_batch_by_rows(data: FolderDataset) -> None:
    whole = list(batches(data).epoch(0))
    for rank in range(2):
        share = list(batches(data, rank=rank, world=2).epoch(0))
        assert same(share, [(images[rank::2], labels[rank::2]) for images, labels in whole])


def test_evaluation_resizes_the_shorter_side_and_cuts_the_centre(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "val" / "cat" / "0.png"
    image = Image.new("RGB", (20, 10))
    image.paste((255, 0, 0), (6, 1, 14, 9))
    image.save(path)
    found = read("imagenet", tmp_path, validation=4, seed=0)
    data = FolderDataset(
        found.name, found.labels, found.train, found.validation, found.test, size=8, resize=10
    )
    ((images, labels),) = evaluation_batches(data, "test", device=CPU, loaders=0)
    red = torch.tensor([(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    torch.testing.assert_close(images[0], red[:, None, None].expand(3, 8, 8))
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_both_held_out_splits_are_evaluated_in_order(data: FolderDataset) -> None:
    labels = [
        label for _, part in evaluation_batches(data, "validation", device=CPU, loaders=0) for label in part
    ]
    assert tuple(map(int, labels)) == data.validation.labels


@pytest.mark.parametrize("loaders", [0, 1])
def test_a_file_that_is_no_image_is_named_in_one_sentence(loaders: int, data: FolderDataset) -> None:
    broken = data.train.paths[3]
    Path(broken).write_bytes(b"not an image")
    with pytest.raises(DataError) as caught:
        list(batches(data, loaders=loaders).epoch(0))
    assert str(caught.value).startswith(f"{broken} is no readable image")
    assert "\n" not in str(caught.value)


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train holds no image files in class folders: unpack"):
        read("imagenet", tmp_path, validation=4, seed=0)
    write(tmp_path)
    for file in (tmp_path / "val" / "dog").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="val holds no image files"):
        read("imagenet", tmp_path, validation=4, seed=0)


def test_classes_that_differ_between_train_and_val_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "val" / "dog").rename(tmp_path / "val" / "hound")
    with pytest.raises(DataError, match=r"train and val hold different classes \(dog, hound, …\)"):
        read("imagenet", tmp_path, validation=4, seed=0)


@pytest.mark.parametrize("validation", [-1, 18])
def test_a_validation_split_that_leaves_nothing_is_refused(validation: int, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=f"validation {validation}: .* has 18 training images"):
        read("imagenet", tmp_path, validation=validation, seed=0)


@pytest.mark.parametrize("randaugment", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_grey_images_have_one_channel_and_randaugment_draws_from_the_seed_alone(
    data: FolderDataset, randaugment: bool, grey: bool
) -> None:
    chosen = replace(data, randaugment=randaugment, normalisation=GREY if grey else IMAGENET)
    epoch = list(batches(chosen).epoch(0))
    channels = 1 if grey else 3
    assert all(images.shape == (4, channels, 8, 8) for images, _ in epoch)
    assert same(epoch, list(batches(chosen).epoch(0)))
    plain = list(batches(replace(chosen, randaugment=False)).epoch(0))
    assert same(epoch, plain) == (not randaugment)
    (images, _), *_ = evaluation_batches(chosen, "test", device=CPU, loaders=0)
    assert images.shape[1:] == (channels, 8, 8) == chosen.image.shape
