"""What is one run for all sub-nets worth, beside a run for each of them?

    python -m benchmarks.training.methods --data-dir data --epochs 60 --seeds 0 1 2 --work build/methods

Every method trains the same network on the same batches with the same optimizer and as many epochs, and is
asked on images that chose nothing. `gmp`, `granet` and `dense` train one network a run, all others every
sub-net in one; `joint` pays for each sub-net, `joint-equal` gets so many fewer epochs; `oneshot` prunes the
dense run. Regrowth is 0.3 in all of them but those whose name says otherwise, `gmp` and `oneshot`, which have
none, and `granet`, which has 0.5 as its authors do. A run that is finished is read from the work folder, one
that was interrupted goes on: the same command, started again, only adds what is missing. Several processes of
one thread share the training (`--share 0/2`, `--share 1/2`); the command without `--share` then reports.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import torch
from scipy.stats import t as student

from benchmarks.harness.errors import ExperimentError
from benchmarks.harness.experiment import experiment
from benchmarks.harness.report import panels, table
from downshift.trainer import checkpoint as checkpoints
from downshift.trainer.data import training_data
from downshift.trainer.errors import TrainerError
from downshift.trainer.parallel import Workers
from downshift.trainer.progress import NullReporter
from downshift.trainer.recipe_toml import load
from downshift.trainer.report.journal import Journal
from downshift.trainer.run import CHECKPOINT, TrainingRun

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Sequence

    from matplotlib.figure import Figure

    from benchmarks.harness.report import Report
    from downshift.trainer.recipe import Recipe
    from downshift.trainer.run import TrainingResult

DEVICE = torch.device("cpu")
CONFIDENCE = 0.95
RESULT = "result.json"
REFERENCE = "gmp"
DENSE, ONESHOT = "dense", "oneshot"
JOINT = "step.kind=joint"
PRUNING = ("masks.form=nested", "masks.initial_sparsity=0.0", "masks.regrow=0.0")


@dataclass(frozen=True)
class Method:
    """How sub-nets come about.

    changes: of the recipe. single: a run for every sparsity, or all in one. shared: the epochs are divided
    among the sub-nets.
    """

    name: str
    changes: tuple[str, ...]
    single: bool = False
    shared: bool = False

    @property
    def joint(self) -> bool:
        """Every sub-net sees every image."""
        return JOINT in self.changes


METHODS = (
    Method("gmp", ("masks.regrow=0.0",), single=True),
    Method("granet", ("masks.regrow=0.5",), single=True),
    Method("alternating, no regrowth", ("masks.regrow=0.0", "step.kind=alternating", "step.correction=off")),
    Method("alternating", ("step.kind=alternating", "step.correction=off")),
    Method("alternating, corrected", ("step.kind=alternating", "step.correction=apply")),
    Method(
        "alternating, corrected, independent masks",
        ("step.kind=alternating", "step.correction=apply", "masks.form=independent"),
    ),
    Method("batch-split", ("step.kind=batch-split", "step.correction=off")),
    Method("joint-equal", (JOINT, "step.correction=off"), shared=True),
    Method("joint", (JOINT, "step.correction=off")),
)


@dataclass(frozen=True)
class Row:
    """A sub-net of a finished run: its top-1 accuracy on the test split.

    passes: sub-nets that were trained on an image, in epochs of the training split; of one-shot pruning those
    of the dense run.
    """

    method: str
    sparsity: float
    seed: int
    accuracy: float
    epochs: int
    passes: float


@dataclass(frozen=True)
class Job:
    """One training run, or one-shot pruning of the dense run of as many epochs."""

    method: str
    seed: int
    sparsities: tuple[float, ...]
    changes: tuple[str, ...]
    epochs: int
    passes: float

    @property
    def trains(self) -> bool:
        """It is no pruning of what another has trained."""
        return self.method != ONESHOT

    @property
    def name(self) -> str:
        """Of its folder."""
        method = re.sub("[^a-z]+", "-", self.method)
        sparsities = "-".join(f"{sparsity * 100:g}" for sparsity in self.sparsities)
        return f"{method}-{sparsities}-{self.epochs}-seed{self.seed}"

    def recipe(self, name: str, settings: Sequence[str]) -> Recipe:
        """That recipe with these settings, and with what the method changes."""
        own = (
            f"subnets.sparsities={list(self.sparsities)}",
            f"run.epochs={self.epochs}",
            f"run.seed={self.seed}",
        )
        return load(name, [*settings, *self.changes, *own])


def jobs(names: Sequence[str], sparsities: Sequence[float], seed: int, epochs: int) -> Iterator[Job]:
    """The runs of a seed, dense before what it is pruned to.

    Raises `ExperimentError` for an unknown method, or epochs that cannot be divided.
    """
    known = {method.name: method for method in METHODS}
    if unknown := [name for name in names if name not in (*known, DENSE, ONESHOT)]:
        raise ExperimentError(f"method {unknown[0]!r}: choose from {', '.join([*known, DENSE, ONESHOT])}")
    count = len(sparsities)
    if DENSE in names or ONESHOT in names:
        yield Job(DENSE, seed, (0.0,), (), epochs, epochs)
    if ONESHOT in names:
        yield Job(ONESHOT, seed, tuple(sparsities), PRUNING, epochs, epochs)
    for method in (known[name] for name in names if name in known):
        if method.shared and epochs % count:
            raise ExperimentError(
                f"--epochs {epochs}: {method.name} divides them among {count} sub-nets: give a multiple"
            )
        own = epochs // count if method.shared else epochs
        passes = own * (count if method.joint else 1)
        for several in [(each,) for each in sparsities] if method.single else [tuple(sparsities)]:
            yield Job(method.name, seed, several, method.changes, own, passes)


def accuracies(job: Job, recipe: Recipe, work: Path, data_dir: Path) -> dict[str, float]:
    """Test accuracy of every sub-net of a job; trained, resumed or pruned now unless its result is there.

    Raises `ExperimentError` where the result is that of another recipe.
    """
    folder = work / job.name
    result, described = folder / RESULT, recipe.as_dict()
    if not result.exists():
        run = TrainingRun(recipe, training_data.load(recipe, data_dir, DEVICE, Workers()), DEVICE)
        outcome = _trained(run, folder) if job.trains else pruned(run, work / _dense(job).name)
        folder.mkdir(parents=True, exist_ok=True)
        part = result.with_suffix(".part")
        part.write_text(json.dumps({"recipe": described, "test": outcome.test}), encoding="utf-8")
        part.rename(result)
    found = json.loads(result.read_text(encoding="utf-8"))
    if found["recipe"] != described:
        raise ExperimentError(f"{folder} holds a run of another recipe: name another folder with --work")
    return dict(found["test"])


def _trained(run: TrainingRun, folder: Path) -> TrainingResult:
    saved = checkpoints.load(folder / CHECKPOINT) if (folder / CHECKPOINT).exists() else None
    if saved is not None:
        run.resume(saved)
    with Journal(folder, int(saved.facts["journal"]) if saved else 0) as journal:
        return run.train(folder, journal, NullReporter())


def pruned(run: TrainingRun, dense: Path) -> TrainingResult:
    """All sub-nets cut out of a finished dense run's weights, and their BatchNorm statistics measured."""
    if not (dense / RESULT).exists():
        raise ExperimentError(f"{dense} holds no finished dense run to prune: train it first")
    weights = checkpoints.load(dense / CHECKPOINT).part("supernet")
    state = run.supernet.state_dict()
    for name in state:
        if not name.endswith("stack.levels"):
            state[name] = weights[re.sub(r"norms\.\d+", "norms.0", name)]
    run.supernet.load_state_dict(state)
    masking = run.context.masking
    masking.update(run.steps, 0, [torch.zeros_like(layer.weight) for layer in masking.layers])
    return run.finish()


def _dense(job: Job) -> Job:
    return Job(DENSE, job.seed, (0.0,), (), job.epochs, job.epochs)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its confidence interval by Student's t; infinite for a single value."""
    if len(values) == 1:
        return values[0], math.inf
    quantile = float(student.ppf((1.0 + CONFIDENCE) / 2.0, len(values) - 1))
    return fmean(values), quantile * stdev(values) / math.sqrt(len(values))


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean, half = interval([100.0 * value for value in values])
    return f"{mean:.2f}" if math.isinf(half) else f"{mean:.2f} ± {half:.2f}"


def of(rows: Sequence[Row], method: str, sparsity: float) -> dict[int, float]:
    """Accuracy by seed."""
    return {row.seed: row.accuracy for row in rows if (row.method, row.sparsity) == (method, sparsity)}


def lines(rows: Sequence[Row]) -> list[str]:
    """Accuracy of every method and sparsity, then by how much each differs from a run for each sub-net."""
    methods = list(dict.fromkeys(row.method for row in rows))
    sparsities = sorted({row.sparsity for row in rows})
    head = ["", *(f"{100 * sparsity:g}%" for sparsity in sparsities)]
    single = {method.name for method in METHODS if method.single}
    runs = {(row.method, row.seed, row.sparsity * (row.method in single)): row.passes for row in rows}
    cost = {each: sum(passes for (name, *_), passes in runs.items() if name == each) for each in methods}
    seeds = {method: len({row.seed for row in rows if row.method == method}) for method in methods}
    found = table(
        [*head, "passes", "seeds"],
        [
            [
                method,
                *(_cell(list(of(rows, method, sparsity).values())) for sparsity in sparsities),
                f"{cost[method] / seeds[method]:g}",
                str(seeds[method]),
            ]
            for method in methods
        ],
    )
    others = [method for method in methods if method not in (REFERENCE, DENSE)]
    if REFERENCE not in methods or not others:
        return found
    differences = []
    for method in others:
        cells = []
        for sparsity in sparsities:
            ours, theirs = of(rows, method, sparsity), of(rows, REFERENCE, sparsity)
            cells.append(_cell([ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()]))
        differences.append([method, *cells])
    return [*found, "", f"Points more than `{REFERENCE}` with the same seed:", "", *table(head, differences)]


def picture(rows: Sequence[Row]) -> Figure:
    """Accuracy over sparsity, a line a method, with its interval."""
    figure, (axes,) = panels(1, 1, size=(8.0, 4.5))
    for method in dict.fromkeys(row.method for row in rows):
        sparsities = sorted({row.sparsity for row in rows if row.method == method})
        found = [interval([100.0 * v for v in of(rows, method, each).values()]) for each in sparsities]
        halves = [0.0 if math.isinf(half) else half for _, half in found]
        places = [f"{100 * each:g}%" for each in sparsities]
        axes.errorbar(places, [mean for mean, _ in found], halves, marker="o", capsize=3, label=method)
    axes.set_xlabel("sparsity")
    axes.set_ylabel("accuracy on the test split, %")
    axes.legend(fontsize="small")
    return figure


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--recipe", default="cifar10-resnet20", help="a bundled recipe or a TOML file")
    parser.add_argument("--set", action="append", default=[], help="section.key=value, for all methods alike")
    parser.add_argument("--methods", nargs="+", default=[DENSE, ONESHOT, *(each.name for each in METHODS)])
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.5, 0.8, 0.9, 0.95, 0.98])
    parser.add_argument("--epochs", type=int, default=60, help="of one run")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--work", type=Path, default=Path("build/methods"), help="folder of the runs")
    parser.add_argument("--share", type=_share, help="k/n: train every n-th run from the k-th, no report")


def _share(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r}: write k/n with k from 0 to n - 1, such as 0/2")
    return int(found[1]), int(found[2])


def measure(chosen: Namespace, report: Report) -> None:
    """Train what is missing, then write table, picture and rows."""
    torch.set_num_threads(1)
    try:
        planned = [
            (job, job.recipe(chosen.recipe, chosen.set))
            for seed in chosen.seeds
            for job in jobs(chosen.methods, chosen.sparsities, seed, chosen.epochs)
        ]
        if chosen.share is not None:
            which, among = chosen.share
            planned = [each for each in planned if each[0].trains][which::among]  # pruning trains nothing
        rows = [row for job, recipe in planned for row in _rows(job, recipe, chosen.work, chosen.data_dir)]
    except TrainerError as error:
        raise ExperimentError(str(error)) from error
    if chosen.share is not None:
        return
    report.csv(rows, Row, lambda row: (row.method, row.sparsity, row.seed))
    settings = "".join(f" `{each}`" for each in chosen.set)
    notes = (
        f"Top-1 accuracy in percent on the test split of `{chosen.recipe}`{settings}, {chosen.epochs} "
        "epochs; mean over seeds and its 95 % interval (Student's t). Passes: sub-nets trained on an image "
        "for one seed, in epochs."
    )
    report.markdown("One run for all sub-nets, beside a run for each", notes, lines(rows))
    report.figure(picture(rows))


def _rows(job: Job, recipe: Recipe, work: Path, data_dir: Path) -> list[Row]:
    print(job.name, flush=True)
    found = accuracies(job, recipe, work, data_dir)
    return [
        Row(job.method, sparsity, job.seed, accuracy, job.epochs, job.passes)
        for sparsity, accuracy in zip(job.sparsities, found.values(), strict=True)
    ]


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
