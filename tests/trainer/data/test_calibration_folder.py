"""Folders to calibrate on: with classes or without, and what is wrong with them in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from downshift.models.spec import InputSpec
from downshift.trainer.data import calibration_folder, image_folder
from downshift.trainer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

LABELS = ("cat", "ant")  # a network's order is not always the alphabet's
SPEC = InputSpec("image", 3, 4, 6, (0.5,) * 3, (0.25,) * 3)


def draw(folder: Path, count: int, value: int = 0) -> None:
    """`count` pictures of one grey each."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new("RGB", (12, 8), (value + index,) * 3).save(folder / f"{index:02}.png")


def found(folder: Path, images: int = 512, validation: int = 4) -> calibration_folder.CalibrationFolder:
    return calibration_folder.read(folder, LABELS, images=images, validation=validation, seed=3)


def test_class_folders_give_disjoint_images_with_the_networks_class_numbers(tmp_path: Path) -> None:
    draw(tmp_path / "ant", 6)
    draw(tmp_path / "cat", 4, 100)
    seen = found(tmp_path, images=3)
    assert seen.validation is not None
    assert (len(seen.calibration), len(seen.validation)) == (3, 4)
    assert not set(seen.calibration.paths) & set(seen.validation.paths)
    reported: list[float] = []
    pixels, labels = calibration_folder.pixels(seen.validation, SPEC, reported.append)
    assert pixels.shape == (4, 4, 6, 3)
    assert pixels.dtype == np.uint8
    assert [LABELS[label] for label in labels] == ["cat" if p[0, 0, 0] >= 100 else "ant" for p in pixels]
    assert reported == [1.0]


def test_a_training_folder_is_split_as_training_splits_it(tmp_path: Path) -> None:
    for part in ("train", "val"):
        draw(tmp_path / part / "ant", 5)
        draw(tmp_path / part / "cat", 5)
    trained = image_folder.read("own", tmp_path, validation=4, seed=3)
    seen = found(tmp_path)
    assert seen.validation is not None
    assert seen.validation.paths == trained.validation.paths
    assert set(seen.calibration.paths) == set(trained.train.paths)


@pytest.mark.parametrize(("validation", "held_out"), [(0, 2), (10, 2), (5000, 2), (9, 9)])
def test_a_fifth_validates_where_nobody_says_what_fits(
    validation: int, held_out: int, tmp_path: Path
) -> None:
    draw(tmp_path / "ant", 4)
    draw(tmp_path / "cat", 6)
    seen = found(tmp_path, validation=validation)
    assert seen.validation is not None
    assert (len(seen.calibration), len(seen.validation)) == (10 - held_out, held_out)


def test_plain_images_have_no_validation(tmp_path: Path) -> None:
    draw(tmp_path, 5)
    (tmp_path / "notes.txt").write_text("no image")
    seen = found(tmp_path, images=4)
    assert seen.validation is None
    assert len(set(seen.calibration.paths)) == 4


def test_what_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent is no folder: give one that holds images"):
        found(tmp_path / "absent")
    with pytest.raises(DataError, match="holds no image files: put some there"):
        found(tmp_path)
    draw(tmp_path / "ant", 1)
    with pytest.raises(DataError, match=r"the model's 2 classes: cat, missing among its class folders"):
        found(tmp_path)
    draw(tmp_path / "cat", 1)
    draw(tmp_path / "cow", 1)
    with pytest.raises(DataError, match=r"cow, which the model does not have as classes; rename"):
        found(tmp_path)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png is no readable image"):
        calibration_folder.pixels(found(tmp_path).calibration, SPEC, lambda _: None)
