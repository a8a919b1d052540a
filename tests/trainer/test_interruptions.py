"""A full disk or SIGTERM ends a run in one sentence, and it goes on from its checkpoint."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from downshift.models import artifact
from downshift.trainer import checkpoint as checkpoints
from downshift.trainer import recipe_toml
from downshift.trainer.errors import CheckpointError, StorageError
from downshift.trainer.interruption import exiting_on_sigterm
from downshift.trainer.report import journal
from downshift.trainer.run import CHECKPOINT
from downshift.trainer.train import train
from tests.trainer.disk import run_on_small_disk
from tests.trainer.small import small_recipe

ROOT = Path(__file__).parents[2]
RECIPE = small_recipe(run={"epochs": 3, "batch_size": 512, "recalibrate": 0})
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
LIMIT_S = 300  # a generous bound for a run of seconds


def command(folder: Path, *more: str) -> list[str]:
    file = folder / "recipe.toml"
    file.write_text(recipe_toml.dumps(RECIPE))
    where = ["--data-dir", str(folder), "--out", str(folder / "run"), "--device", "cpu"]
    return [sys.executable, "-m", "downshift", "train", str(file), *where, *more]


class FullAfter:
    """Stands for os.fsync on a disk that fills up: the calls after the first few find no space."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, descriptor: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_sentence_and_the_checkpoint_before_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", FullAfter(2))  # the file and its folder: one checkpoint
    said = r"No space left on device at step 4 of 6; the checkpoint of epoch 1 is kept: .* with --resume"
    with pytest.raises(StorageError, match=said) as caught:
        train(RECIPE, tmp_path, data_dir=tmp_path, device="cpu")
    assert "\n" not in str(caught.value)
    assert checkpoints.load(tmp_path / CHECKPOINT).step == 2
    assert list(tmp_path.glob(".*.part")) == []
    monkeypatch.undo()
    train(RECIPE, tmp_path, data_dir=tmp_path, device="cpu", resume=True)
    assert [record["epoch"] for record in journal.read(tmp_path / journal.NAME)[:-1]] == [1, 2, 3]


def test_a_disk_that_is_full_before_the_first_checkpoint_asks_for_a_new_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", FullAfter(0))
    with pytest.raises(StorageError, match=r"no checkpoint was written yet: free .*, then start again"):
        train(RECIPE, tmp_path, data_dir=tmp_path, device="cpu")
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("kibibytes", [4, 150, 300])
def test_a_small_file_system_ends_a_run_in_one_sentence(tmp_path: Path, kibibytes: int) -> None:
    run = tmp_path / "run"
    run.mkdir()
    done = run_on_small_disk(run, f"{kibibytes}k", command(tmp_path), cwd=ROOT, env=ENVIRONMENT)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "No space left on device" in line


def test_sigterm_ends_a_run_with_its_exit_code_and_it_goes_on(tmp_path: Path) -> None:
    long = command(tmp_path, "--set", "run.epochs=2000")
    victim = subprocess.Popen(long, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + LIMIT_S
    while not (tmp_path / "run" / CHECKPOINT).exists() and time.monotonic() < end and victim.poll() is None:
        time.sleep(0.05)
    victim.send_signal(signal.SIGTERM)
    _, said = victim.communicate(timeout=LIMIT_S)
    assert victim.returncode == 128 + signal.SIGTERM, said
    assert "Traceback" not in said
    assert "ended by SIGTERM" in said
    assert "is kept: continue with --resume" in " ".join(said.split())
    assert list((tmp_path / "run").glob(".*.part")) == []
    assert checkpoints.load(tmp_path / "run" / CHECKPOINT).step > 0


def test_outside_a_run_sigterm_does_what_it_did() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with exiting_on_sigterm():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_lower_learning_rate_on_resuming_is_on_record(tmp_path: Path) -> None:
    short = small_recipe(run={"epochs": 3, "batch_size": 512, "recalibrate": 0})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", FullAfter(2))
        with pytest.raises(StorageError):
            train(short, tmp_path, data_dir=tmp_path, device="cpu")
    lower = small_recipe(run={"epochs": 3, "batch_size": 512, "recalibrate": 0}, optimizer={"lr": 0.01})
    train(lower, tmp_path, data_dir=tmp_path, device="cpu", resume=True)
    first, changed, *rest = journal.read(tmp_path / journal.NAME)
    assert first["epoch"] == 1
    assert changed == {"step": 2, "resumed": {"optimizer.lr": 0.01}}
    assert [record.get("epoch") for record in rest] == [2, 3, None]
    assert max(record["lr"] for record in rest[:2]) <= 0.01
    assert "\n# resumed at step 2 with optimizer.lr = 0.01\n" in "\n" + (tmp_path / "recipe.toml").read_text()


def test_an_artifact_without_its_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"precious")
    with pytest.raises(CheckpointError, match=r"already holds a run \(model.onnx\)"):
        train(RECIPE, tmp_path, data_dir=tmp_path, device="cpu")
    assert (tmp_path / "model.onnx").read_bytes() == b"precious"


def test_a_report_that_fits_no_more_leaves_the_artifact_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[Any] = []
    real = os.fsync

    def full_after_the_artifact(descriptor: int) -> None:
        if (tmp_path / "model.onnx").exists():
            writes.append(descriptor)
        if len(writes) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_after_the_artifact)
    with pytest.raises(StorageError, match="the checkpoint of epoch 3 is kept"):
        train(RECIPE, tmp_path, data_dir=tmp_path, device="cpu")
    assert artifact.read(tmp_path / "model.onnx").manifest.names == ("s50", "s80")
