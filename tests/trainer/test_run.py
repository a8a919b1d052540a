"""A run in one process: it learns, it is measured on held-out splits, it resumes bit-exactly at any step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import torch

from downshift.models.errors import SpecError
from downshift.trainer import checkpoint as checkpoints
from downshift.trainer.data.dataset import Dataset, Split
from downshift.trainer.data.training_data import InMemory
from downshift.trainer.errors import CheckpointError, DivergenceError, RecipeError
from downshift.trainer.masks.schedule import LearningRate
from downshift.trainer.parallel import Workers
from downshift.trainer.progress import NullReporter
from downshift.trainer.report import journal as journals
from downshift.trainer.report.journal import Journal
from downshift.trainer.run import CHECKPOINT, TrainingRun
from tests.trainer.small import small_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from downshift.trainer.recipe import Recipe

CPU = torch.device("cpu")
THREE = {"sparsities": [0.5, 0.8, 0.9]}


def stripes(count: int, seed: int) -> Split:
    """Noisy images whose bright quarter tells the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    images = torch.randint(0, 100, (count, 8, 8, 1), generator=generator)
    for quarter in range(4):
        images[labels == quarter, 2 * quarter : 2 * quarter + 2] += 120
    return Split(images.to(torch.uint8), labels)


DATA = Dataset("stripes", tuple("abcd"), stripes(64, 0), stripes(40, 1), stripes(30, 2), (0.3,), (0.2,))


def small_run(recipe: Recipe, data: Dataset = DATA) -> TrainingRun:
    return TrainingRun(recipe, InMemory(recipe, data, CPU, Workers()), CPU)


def recipe(**sections: dict[str, Any]) -> Recipe:
    run = {"batch_size": 16, "epochs": 4, "recalibrate": 2} | sections.pop("run", {})
    return small_recipe(run=run, subnets=THREE, **sections)


def taken(run: TrainingRun, steps: int) -> TrainingRun:
    """The run after `steps` further steps."""
    run.supernet.train()
    for _ in range(steps):
        epoch, start = divmod(run.step, len(run.data))
        images, labels = next(run.data.epoch(epoch, start))
        run.take_step(run.step, run.rate.at(run.step), *run.mix(images, labels))
        run.step += 1
    return run


@pytest.mark.parametrize("kind", ["alternating", "batch-split", "joint"])
@pytest.mark.parametrize("form", ["nested", "independent"])
@pytest.mark.parametrize("cut", [4, 5, 6])
def test_resuming_at_any_step_of_a_group_restores_everything_bit_exactly(
    tmp_path: Path, kind: str, form: str, cut: int
) -> None:
    chosen = recipe(step={"kind": kind}, masks={"form": form}, data={"mix": "mixup-cutmix", "balance": True})
    straight = taken(small_run(chosen), 11)
    broken = taken(small_run(chosen), cut)
    checkpoints.save(tmp_path / CHECKPOINT, broken.checkpoint(journal=77))
    torch.manual_seed(12345)
    resumed = small_run(chosen)
    saved = checkpoints.load(tmp_path / CHECKPOINT)
    assert resumed.resume(saved) == {}
    assert saved.facts["journal"] == 77
    taken(resumed, 11 - cut)
    mine, theirs = straight.checkpoint(0), resumed.checkpoint(0)
    assert mine.step == theirs.step == 11
    assert mine.tensors.keys() == theirs.tensors.keys()
    for name, tensor in mine.tensors.items():
        assert torch.equal(tensor, theirs.tensors[name]), name


def test_a_checkpoint_of_another_recipe_is_refused_naming_what_differs(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / CHECKPOINT, small_run(recipe()).checkpoint(0))
    other = small_run(recipe(masks={"regrow": 0.5}))
    with pytest.raises(CheckpointError, match=r"made with masks.regrow = 0.3, not 0.5: resume with the same"):
        other.resume(checkpoints.load(tmp_path / CHECKPOINT))


def test_a_run_goes_on_with_another_learning_rate_and_arithmetic(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / CHECKPOINT, taken(small_run(recipe()), 5).checkpoint(0))
    other = small_run(recipe(optimizer={"lr": 0.05}, data={"workers": 0}))
    changed = other.resume(checkpoints.load(tmp_path / CHECKPOINT))
    assert changed == {"optimizer.lr": 0.05, "data.workers": 0}
    assert other.step == 5
    assert other.rate.at(5) == pytest.approx(0.5 * small_run(recipe()).rate.at(5))


def diverging(tmp_path: Path, **sections: dict[str, Any]) -> TrainingRun:
    """A run that has trained one epoch well, and whose learning rate then destroys the weights."""
    run = small_run(recipe(run={"epochs": 3, "batch_size": 16, "recalibrate": 0}, **sections))
    good = run.rate

    class Rising:
        def at(self, step: int) -> float:
            return good.at(step) if step < 6 else 1e30

    run.rate = Rising()  # type: ignore[assignment]
    return run


@pytest.mark.parametrize("kind", ["alternating", "batch-split", "joint"])
def test_training_stops_at_the_first_loss_that_is_not_finite_and_keeps_the_checkpoint(
    tmp_path: Path, kind: str
) -> None:
    run = diverging(tmp_path, step={"kind": kind})
    with Journal(tmp_path) as journal, pytest.raises(DivergenceError) as caught:
        run.train(tmp_path, journal, NullReporter())
    said = str(caught.value)
    assert re.search(r"diverged in epoch 2, step 8, at learning rate 1e\+30", said)
    assert re.search(r"the loss of sub-net s(50|80|90) is (nan|inf)", said)
    assert "the checkpoint of epoch 1 is kept: continue with --resume and --set optimizer.lr=0.01" in said
    assert run.step == 8, "two epochs of four steps, of which the second ends in the first bad loss"
    saved = checkpoints.load(tmp_path / CHECKPOINT)
    assert saved.step == 4
    assert all(t.isfinite().all() for t in saved.tensors.values())
    assert [record["epoch"] for record in journals.read(tmp_path / journals.NAME)] == [1]


def test_before_the_first_checkpoint_divergence_asks_for_a_new_start(tmp_path: Path) -> None:
    run = diverging(tmp_path, optimizer={"warmup": 0.0})
    run.rate = LearningRate(1e30, run.steps, 0, ())
    with (
        Journal(tmp_path) as journal,
        pytest.raises(DivergenceError, match=r"no checkpoint was written yet: start again and"),
    ):
        run.train(tmp_path, journal, NullReporter())
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("network.stem.weight", "network.stem.weight, which all sub-nets share, is not finite"),
        ("network.blocks.0.norm1.norms.1.running_var", "norms.1.running_var, which sub-net s80 has, is not"),
    ],
)
def test_a_weight_that_is_not_finite_is_never_saved(tmp_path: Path, name: str, said: str) -> None:
    """BatchNorm statistics take no part in training: no loss ever tells that they are lost."""
    run = small_run(recipe())
    good = run.take_step

    def step(*args: Any) -> None:
        good(*args)
        with torch.no_grad():
            run.supernet.state_dict()[name].view(-1)[0] = torch.inf

    run.take_step = step  # type: ignore[assignment]
    run.steps = 4
    run.history.add = lambda losses: None  # type: ignore[method-assign]
    with Journal(tmp_path) as journal, pytest.raises(DivergenceError, match=said):
        run.train(tmp_path, journal, NullReporter())
    assert not (tmp_path / CHECKPOINT).exists()


def test_every_sub_net_learns_and_the_journal_tells_of_every_epoch(tmp_path: Path) -> None:
    chosen = small_recipe(run={"batch_size": 16, "epochs": 12, "recalibrate": 3}, subnets=THREE)
    with Journal(tmp_path) as journal:
        outcome = small_run(chosen).train(tmp_path, journal, NullReporter())
    assert min(outcome.validation.values()) > 0.6
    assert min(outcome.test.values()) > 0.6
    records = journals.read(tmp_path / journals.NAME)
    assert [record["epoch"] for record in records] == list(range(1, 13))
    assert records[-1]["loss"]["s50"] < 0.5 * records[0]["loss"]["s50"]
    assert [round(s, 2) for s in records[-1]["sparsity"].values()] == [0.5, 0.8, 0.9]
    assert 0 <= records[-1]["correction"]["firing_rate"] <= 1
    assert checkpoints.load(tmp_path / CHECKPOINT).step == 48


def test_the_test_split_changes_nothing_but_its_own_figure(tmp_path: Path) -> None:
    """No best checkpoint is chosen, least of all on the test split: same weights, whatever it holds."""
    other = Dataset(**{**vars(DATA), "test": stripes(50, 99)})
    results = [small_run(recipe(), data).train(tmp_path, None, NullReporter()) for data in (DATA, other)]
    one, two = (result.supernet.state_dict() for result in results)
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert results[0].validation == results[1].validation


def test_inputs_are_normalised_by_the_training_splits_figures() -> None:
    run = small_run(recipe())
    images, _ = next(run.data.epoch(0))
    raw = (DATA.train.images.float().mean() / 255 - 0.3) / 0.2
    assert images.shape == (16, 1, 8, 8)
    assert images.mean().item() == pytest.approx(raw.item(), abs=0.3)
    assert (run.data.image.mean, run.data.image.std) == ((0.3,), (0.2,))


def test_different_seeds_are_different_runs_and_equal_ones_the_same() -> None:
    first, again, other = (
        taken(small_run(small_recipe(run={"batch_size": 16, "epochs": 4, "seed": seed}, subnets=THREE)), 3)
        for seed in (0, 0, 1)
    )
    name = "supernet/network.stem.weight"
    weights = [run.checkpoint(0).tensors[name] for run in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_batch_larger_than_the_training_split_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"run.batch_size 65: the training split has fewer images"):
        small_run(small_recipe(run={"batch_size": 65}))


def test_a_run_starts_from_the_weights_of_a_file_and_a_resumed_one_from_its_checkpoint(
    tmp_path: Path,
) -> None:
    trained = taken(small_run(recipe()), 3)
    weights = tmp_path / "weights.pt"
    torch.save(trained.supernet.plain(0).state_dict(), weights)
    chosen = recipe(network={"init": str(weights)}, run={"seed": 5})
    started = small_run(chosen)
    assert same_state(started, trained)
    checkpoints.save(tmp_path / CHECKPOINT, taken(started, 4).checkpoint(journal=0))
    weights.unlink()
    resumed = TrainingRun(chosen, started.data, CPU, resuming=True)
    assert resumed.resume(checkpoints.load(tmp_path / CHECKPOINT)) == {}
    assert same_state(resumed, started)
    with pytest.raises(SpecError, match="no such file of weights"):
        small_run(chosen)


def same_state(one: TrainingRun, other: TrainingRun) -> bool:
    """Whether the densest sub-nets of both hold the same weights and statistics."""
    mine, theirs = (run.supernet.plain(0).state_dict() for run in (one, other))
    return all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
