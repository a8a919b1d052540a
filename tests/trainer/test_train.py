"""A whole run, as the command line starts it: what it leaves, and that killing it changes nothing."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from downshift.models import artifact
from downshift.trainer import checkpoint, recipe_toml
from downshift.trainer.errors import CheckpointError, RecipeError, TrainerError
from downshift.trainer.report import journal
from downshift.trainer.run import CHECKPOINT
from downshift.trainer.train import choose_device, train
from tests.trainer.small import small_recipe

ROOT = Path(__file__).parents[2]
RECIPE = small_recipe(
    run={"epochs": 30, "batch_size": 512, "evaluate_every": 10}, subnets={"sparsities": [0.5, 0.8, 0.9]}
)
"""Two steps an epoch and three sub-nets: most checkpoints fall in the middle of an inner group."""

STEPS = 60

PROGRAM = """
import sys
from pathlib import Path
from downshift.trainer import recipe_toml
from downshift.trainer.train import train

file, folder = map(Path, sys.argv[1:])
train(recipe_toml.load(str(file)), folder, data_dir=folder, device="cpu")
"""


LIMIT_S = 300  # a generous bound for a run of seconds


def killed_after_its_first_checkpoint(folder: Path, file: Path) -> None:
    """A run in a process of its own, ended without notice."""
    surroundings = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", PROGRAM, str(file), str(folder)]
    victim = subprocess.Popen(command, cwd=ROOT, env=surroundings)
    end = time.monotonic() + LIMIT_S
    while not (folder / CHECKPOINT).exists() and victim.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL, "the run ended before it could be killed"


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file a run leaves, but TensorBoard's, which hold the time of day."""
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_run_that_was_killed_and_resumed_leaves_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", os.devnull)  # someone may commit to the source tree in the meantime
    file = tmp_path / "recipe.toml"
    file.write_text(recipe_toml.dumps(RECIPE))
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    killed_after_its_first_checkpoint(broken, file)
    assert 0 < checkpoint.load(broken / CHECKPOINT).step < STEPS
    assert not (broken / "model.onnx").exists()
    (broken / ".model.onnx.0123.part").write_bytes(b"what a kill in the middle of writing leaves")
    train(recipe_toml.load(str(file)), broken, data_dir=tmp_path, device="cpu", resume=True)
    train(recipe_toml.load(str(file)), straight, data_dir=tmp_path, device="cpu")
    assert digests(broken) == digests(straight)
    assert {"model.onnx", "metrics.jsonl", "recipe.toml", CHECKPOINT} <= digests(straight).keys()
    assert list(broken.glob("*.part")) == []

    before = digests(straight)
    (straight / "model.onnx").unlink()
    train(RECIPE, straight, data_dir=tmp_path, device="cpu", resume=True)
    assert digests(straight) == before, "resuming a finished run writes its results again"

    assert recipe_toml.load(str(straight / "recipe.toml")) == RECIPE
    manifest = artifact.read(straight / "model.onnx").manifest
    *epochs, end = journal.read(straight / "metrics.jsonl")
    assert [record["epoch"] for record in epochs] == [10, 20, 30]
    assert [subnet.accuracy for subnet in manifest.subnets] == list(end["final"].values())
    assert [round(subnet.sparsity, 2) for subnet in manifest.subnets] == [0.5, 0.8, 0.9]


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"precious")
    with pytest.raises(
        CheckpointError, match=r"already holds a run \(checkpoint.*\); continue with --resume"
    ):
        train(RECIPE, tmp_path, data_dir=tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == b"precious"


def test_resuming_needs_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file; start the run without --resume"):
        train(RECIPE, tmp_path, data_dir=tmp_path, resume=True)
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_that_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    wanted = small_recipe(data={"name": "imagenet"})
    with pytest.raises(TrainerError, match="holds no image files"):
        train(wanted, tmp_path / "run", data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(RecipeError, match="'abacus' cannot be used here"):
        choose_device("abacus")
    assert choose_device("cpu").type == "cpu"
