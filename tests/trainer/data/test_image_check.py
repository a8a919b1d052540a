"""Damaged files are named before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from downshift.trainer.data import training_data
from downshift.trainer.data.class_folders import Files
from downshift.trainer.data.image_check import check_images
from downshift.trainer.data.image_folder import FolderDataset
from downshift.trainer.errors import DataError
from downshift.trainer.parallel import Workers
from tests.models.images.pictures import encoded, noise, picture
from tests.trainer.small import small_recipe

GOOD = encoded(picture(noise(20, 30)), "JPEG")
HALF = GOOD[: len(GOOD) // 2]
COUNT = 6


def files(folder: Path) -> Files:
    folder.mkdir()
    paths = [folder / f"{index}.jpg" for index in range(COUNT)]
    for path in paths:
        path.write_bytes(GOOD)
    return Files(tuple(map(str, paths)), (0,) * COUNT)


@pytest.fixture
def data(tmp_path: Path) -> FolderDataset:
    train, validation, test = (files(tmp_path / part) for part in ("train", "validation", "test"))
    return FolderDataset("photos", ("cat",), train, validation, test, size=8, resize=10)


def test_files_that_are_whole_pass(data: FolderDataset) -> None:
    check_images(data, loaders=0)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "the file is empty"), (b"<html>", "the file is not a JPEG, PNG, ")]
)
def test_what_is_no_image_is_named_in_any_split(
    data: FolderDataset, part: str, content: bytes, reason: str
) -> None:
    bad = getattr(data, part).paths[3]
    Path(bad).write_bytes(content)
    with pytest.raises(DataError) as caught:
        check_images(data, loaders=0)
    assert str(caught.value).startswith(f"{bad} is no readable image ({reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_truncated_file_is_named_where_it_would_be_read_hours_later(data: FolderDataset, part: str) -> None:
    bad = getattr(data, part).paths[COUNT - 1]
    Path(bad).write_bytes(HALF)
    with pytest.raises(DataError, match=f"{bad} is no readable image .*truncated or corrupt"):
        check_images(data, loaders=0)


def test_a_file_that_is_gone_is_named(data: FolderDataset) -> None:
    Path(data.train.paths[0]).unlink()
    with pytest.raises(DataError, match=r"0\.jpg is no readable image \(No such file or directory\)"):
        check_images(data, loaders=0)


def test_the_processes_of_a_run_share_the_work(data: FolderDataset) -> None:
    odd = replace(data, train=data.train.take([0, 1]), validation=data.validation.take([0, 1]))
    for path in (odd.train.paths[1], odd.validation.paths[1], odd.test.paths[1]):
        Path(path).write_bytes(b"")
    check_images(odd, loaders=0, rank=0, world=2)
    with pytest.raises(DataError, match=r"train/1\.jpg is no readable image"):
        check_images(odd, loaders=0, rank=1, world=2)


def test_a_run_checks_its_files_before_it_begins(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for label in ("cat", "dog"):
            (tmp_path / part).mkdir(exist_ok=True)
            files(tmp_path / part / label)
    (tmp_path / "val" / "dog" / "2.jpg").write_bytes(HALF)
    recipe = small_recipe(data={"name": "imagenet", "validation": 4, "workers": 0})
    with pytest.raises(DataError, match=r"val/dog/2\.jpg is no readable image"):
        training_data.load(recipe, tmp_path, torch.device("cpu"), Workers())
