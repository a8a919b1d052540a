"""Methods of training side by side: which runs there are, that they are resumed, and what the tables say."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING

import pytest
import torch

from benchmarks.harness.errors import ExperimentError
from benchmarks.training.methods import (
    DENSE,
    DEVICE,
    METHODS,
    ONESHOT,
    PRUNING,
    RESULT,
    Row,
    interval,
    jobs,
    lines,
    main,
    pruned,
)
from downshift.trainer import checkpoint as checkpoints
from downshift.trainer.data import training_data
from downshift.trainer.parallel import Workers
from downshift.trainer.recipe_toml import load
from downshift.trainer.run import CHECKPOINT, TrainingRun

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

QUICK_SETTINGS = ["network.width=0.25", "run.recalibrate=2", "masks.offset=1", "masks.interval=5"]
QUICK = [
    *("--recipe", "digits", "--epochs", "6", "--sparsities", "0.5", "0.9", "--seeds", "0", "1"),
    *(argument for each in QUICK_SETTINGS for argument in ("--set", each)),
    *("--methods", "dense", "oneshot", "gmp", "batch-split", "joint-equal"),
]


def run(folder: Path, *more: str) -> int:
    return main([*QUICK, "--work", str(folder / "work"), "--out", str(folder / "out"), *more])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("methods")
    assert run(folder) == 0
    return folder


def table(folder: Path) -> str:
    return (folder / "out/methods.csv").read_text()


def test_every_method_has_every_sparsity_and_seed(finished: Path) -> None:
    rows = [line.split(",")[:3] for line in table(finished).splitlines()[1:]]
    expected = [["dense", "0", "0"], ["dense", "0", "1"]]
    for method in ("oneshot", "gmp", "batch-split", "joint-equal"):
        expected += [[method, sparsity, seed] for sparsity in ("0.5", "0.9") for seed in ("0", "1")]
    assert sorted(rows) == sorted(expected)
    page = (finished / "out/methods.md").read_text()
    assert "Points more than `gmp` with the same seed" in page
    assert (finished / "out/methods.png").stat().st_size > 1000


def test_started_again_it_only_trains_what_is_missing_and_finds_the_same(finished: Path) -> None:
    before, work = table(finished), finished / "work"
    kept = {path: path.stat().st_mtime_ns for path in work.glob(f"*/{RESULT}")}
    [gone] = work.glob(f"batch-split*seed1/{RESULT}")
    shutil.rmtree(gone.parent)  # what it had trained is gone, too
    assert run(finished) == 0
    assert table(finished) == before
    assert [path for path, at in kept.items() if path.stat().st_mtime_ns != at] == [gone]


def test_one_shot_pruning_costs_more_the_sparser_it_is_and_trains_nothing(finished: Path) -> None:
    assert not list(finished.glob(f"work/oneshot*/{CHECKPOINT}"))
    accuracies = {(method, float(s), seed): float(a) for method, s, seed, a, *_ in values(finished)}
    for seed in "01":
        half, tenth = accuracies["oneshot", 0.5, seed], accuracies["oneshot", 0.9, seed]
        assert tenth < half <= accuracies["dense", 0.0, seed] + 0.05


def test_one_shot_pruning_keeps_the_largest_weights_of_the_dense_run(finished: Path) -> None:
    """Whatever the recipe's schedule begins with."""
    dense = finished / "work" / "dense-0-6-seed0"
    recipe = load("digits", [*QUICK_SETTINGS, "subnets.sparsities=[0.5, 0.9]", "run.epochs=6", *PRUNING])
    run = TrainingRun(recipe, training_data.load(recipe, finished, DEVICE, Workers()), DEVICE)
    pruned(run, dense)
    weights = checkpoints.load(dense / CHECKPOINT).part("supernet")
    layers = run.supernet.masked_layers
    original = torch.cat([weights[f"network.{name}.masked.weight"].abs().flatten() for name in layers])
    for index, sparsity in enumerate((0.5, 0.9)):
        mask = torch.cat([layer.stack.mask(index).flatten() for layer in layers.values()])
        kept = original.numel() - round(sparsity * original.numel())
        assert int(mask.sum()) == pytest.approx(kept, abs=1)
        assert original[mask].min() >= original[~mask].max()


def test_a_dense_run_that_is_not_finished_is_not_pruned(tmp_path: Path) -> None:
    recipe = load("digits", [*QUICK_SETTINGS, "subnets.sparsities=[0.5]", "run.epochs=6"])
    run = TrainingRun(recipe, training_data.load(recipe, tmp_path, DEVICE, Workers()), DEVICE)
    with pytest.raises(ExperimentError, match="holds no finished dense run to prune"):
        pruned(run, tmp_path)


def values(folder: Path) -> list[list[str]]:
    return [line.split(",") for line in table(folder).splitlines()[1:]]


def test_a_single_run_has_one_sub_net_and_the_joint_one_fewer_epochs(finished: Path) -> None:
    [single] = finished.glob(f"work/gmp-90-6-seed0/{CHECKPOINT}")
    [joint] = finished.glob(f"work/joint-equal-50-90-3-seed0/{CHECKPOINT}")
    assert checkpoints.load(single).recipe["subnets"]["sparsities"] == [0.9]
    assert checkpoints.load(joint).recipe["run"]["epochs"] == 3
    assert checkpoints.load(joint).step * 2 == checkpoints.load(single).step


def test_two_processes_share_the_runs(tmp_path: Path) -> None:
    assert run(tmp_path, "--methods", "gmp", "--share", "1/2") == 0
    assert sorted(path.parent.name for path in tmp_path.glob(f"work/*/{RESULT}")) == [
        "gmp-90-6-seed0",
        "gmp-90-6-seed1",
    ]
    assert not (tmp_path / "out").exists()


def test_every_pass_over_the_data_is_counted() -> None:
    names = [DENSE, ONESHOT, *(method.name for method in METHODS)]
    passes = dict.fromkeys(names, 0.0)
    for job in jobs(names, (0.5, 0.8, 0.9), 0, 12):
        passes[job.method] += job.passes
    assert passes == {
        "dense": 12,
        "oneshot": 12,
        "gmp": 36,
        "granet": 36,
        "alternating, no regrowth": 12,
        "alternating": 12,
        "alternating, corrected": 12,
        "alternating, corrected, independent masks": 12,
        "batch-split": 12,
        "joint-equal": 12,
        "joint": 36,
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--methods", "magic"], "method 'magic': choose from gmp"),
        (["--epochs", "5"], "--epochs 5: joint-equal divides them among 2 sub-nets: give a multiple"),
        (["--sparsities", "0.9", "0.5"], "the densest first"),
        (["--recipe", "nobody"], "unknown recipe 'nobody'"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], said: str
) -> None:
    assert run(tmp_path, *arguments) == 2
    assert said in capsys.readouterr().err


def test_results_of_another_recipe_are_not_taken_for_this_ones(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(finished, "--set", "optimizer.lr=0.01") == 2
    assert "holds a run of another recipe: name another folder with --work" in capsys.readouterr().err


@pytest.mark.parametrize("share", ["x", "1", "0/0", "5/2", "-1/2"])
def test_a_share_that_is_none_is_said(share: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, f"--share={share}")
    assert "write k/n with k from 0 to n - 1" in capsys.readouterr().err


def test_sparsities_have_columns_of_their_own() -> None:
    rows = [Row("gmp", sparsity, 0, 0.9, 6, 6.0) for sparsity in (0.98, 0.985)]
    assert "| 98% | 98.5% |" in lines(rows)[0]


def test_the_interval_is_students() -> None:
    mean, half = interval([90.0, 91.0, 92.0])
    assert mean == 91.0
    assert half == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)  # 2 degrees of freedom, standard deviation 1
    assert interval([90.0]) == (90.0, math.inf)


def test_differences_are_between_runs_of_one_seed() -> None:
    """Seeds differ by more than methods here, and yet the difference is certain."""
    found = {"gmp": (0.90, 0.80, 0.85), "batch-split": (0.89, 0.79, 0.84)}
    rows = [
        Row(method, 0.9, seed, accuracy, 6, 6.0)
        for method, accuracies in found.items()
        for seed, accuracy in enumerate(accuracies)
    ]
    page = lines(rows)
    assert "| gmp | 85.00 ± 12.42 | 6 | 3 |" in page
    assert page[-1] == "| batch-split | -1.00 ± 0.00 |"
