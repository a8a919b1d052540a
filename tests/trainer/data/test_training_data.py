"""Data in memory and data in folders are the same to a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from downshift.models import artifact
from downshift.trainer.data import image_folder, training_data
from downshift.trainer.data.training_data import InFolders
from downshift.trainer.errors import DataError, RecipeError
from downshift.trainer.parallel import Workers
from downshift.trainer.progress import NullReporter
from downshift.trainer.report.journal import NAME
from downshift.trainer.report.results import write_results
from downshift.trainer.run import TrainingRun
from tests.trainer.small import small_recipe

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")
FOLDERS = small_recipe(
    data={"name": "imagenet", "validation": 4, "workers": 0}, run={"batch_size": 4, "epochs": 4}
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of ten training and two test images, 40 x 30 pixels."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 10), ("val", 2)):
        for label in ("cat", "dog"):
            at = tmp_path / part / label
            at.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(at / f"{index}.png")
    return tmp_path


def small(folder: Path, workers: Workers) -> InFolders:
    """The files cut to 16 pixels, so that a test can train on them."""
    files = image_folder.read("imagenet", folder, validation=4, seed=0)
    return InFolders(FOLDERS, replace(files, size=16, resize=20), CPU, workers)


def test_data_in_memory_divides_batches_among_workers_but_calibrates_on_whole_ones(tmp_path: Path) -> None:
    recipe = small_recipe(run={"batch_size": 9})
    one, two = (training_data.load(recipe, tmp_path, CPU, Workers(rank, 2)) for rank in range(2))
    alone = training_data.load(recipe, tmp_path, CPU, Workers())
    images, labels = next(alone.epoch(3, 5))
    parts = [next(data.epoch(3, 5)) for data in (one, two)]
    assert [len(part[1]) for part in parts] == [5, 4]
    assert torch.equal(parts[0][0], images[::2])
    assert torch.equal(parts[1][1], labels[1::2])
    assert torch.equal(next(two.calibration(3))[0], next(alone.epoch(3))[0])
    assert len(alone) == 1238 // 9
    assert alone.image.shape == (1, 8, 8)
    assert sum(len(labels) for _, labels in alone.held_out("validation")) == 200
    assert sum(len(labels) for _, labels in alone.held_out("test")) == 359


def test_data_in_folders_says_how_a_served_image_becomes_its_input(folder: Path) -> None:
    data = training_data.load(FOLDERS, folder, CPU, Workers())
    assert data.labels == ("cat", "dog")
    assert (data.image.shape, data.image.resize) == ((3, 224, 224), 256)
    assert data.image.mean == (0.485, 0.456, 0.406)
    assert len(data) == 4
    (images, labels), *_ = data.held_out("test")
    assert images.shape == (4, 3, 224, 224)
    assert labels.tolist() == [0, 0, 1, 1]


def test_data_in_folders_is_divided_once_not_twice(folder: Path) -> None:
    workers = [Workers(rank, 2) for rank in range(2)]
    parts = [small(folder, w) for w in workers]
    alone = small(folder, Workers())
    images, labels = next(alone.epoch(1, 2))
    shares = [next(part.epoch(1, 2)) for part in parts]
    assert torch.equal(shares[0][0], images[::2])
    assert torch.equal(shares[1][1], labels[1::2])
    assert torch.equal(next(parts[1].calibration(0))[1], next(alone.epoch(0))[1])


def test_a_run_trains_on_folders_and_hands_over_an_artifact(folder: Path, tmp_path: Path) -> None:
    data = small(folder, Workers())
    outcome = TrainingRun(FOLDERS, data, CPU).train(tmp_path, None, NullReporter())
    (tmp_path / NAME).write_text("")
    write_results(tmp_path, FOLDERS, data, outcome)
    manifest = artifact.read(tmp_path / "model.onnx").manifest
    assert (manifest.labels, manifest.input.resize, manifest.input.shape) == (("cat", "dog"), 20, (3, 16, 16))


def test_data_in_folders_may_be_small_grey_and_unbalanced(folder: Path) -> None:
    for path in sorted((folder / "train" / "dog").iterdir())[4:]:
        path.unlink()
    recipe = small_recipe(
        data={
            "name": "folder",
            "validation": 2,
            "workers": 0,
            "size": 32,
            "grey": True,
            "augment": "randaugment",
            "balance": True,
        },
        run={"batch_size": 4},
    )
    data = training_data.load(recipe, folder, CPU, Workers())
    assert (data.image.shape, data.image.resize) == ((1, 32, 32), 37)
    assert data.validation_images == 2
    assert int(data.class_counts.sum()) == 12
    assert data.class_counts[0] > data.class_counts[1]
    images, _ = next(data.epoch(0))
    assert images.shape == (4, 1, 32, 32)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("augment", "randaugment", "for image folders only; choose crop-flip"),
        ("size", 64, "digits has its own; leave the key out"),
        ("grey", True, "digits has its own; leave the key out"),
    ],
)
def test_what_only_folders_have_cannot_be_chosen_for_others(
    key: str, value: Any, said: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=f"data.{key} = {value!r}: {said}"):
        training_data.load(small_recipe(data={key: value}), tmp_path, CPU, Workers())


@pytest.mark.parametrize(("key", "value"), [("augment", "crop"), ("test", "batch5")])
def test_what_folders_decide_themselves_cannot_be_chosen(folder: Path, key: str, value: str) -> None:
    recipe = small_recipe(data={"name": "imagenet", "validation": 4, key: value})
    with pytest.raises(RecipeError, match=f"data.{key} = '{value}': imagenet has its own"):
        training_data.load(recipe, folder, CPU, Workers())


def test_an_unknown_data_set_is_refused_naming_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown data set 'imagnet': did you mean 'imagenet'"):
        training_data.load(small_recipe(data={"name": "imagnet"}), tmp_path, CPU, Workers())
