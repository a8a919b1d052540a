"""At which latencies is nobody more accurate than our sub-nets?

    python -m benchmarks.engines.pareto --ours cifar10-resnet20.onnx --dense dense.onnx dense-0.5.onnx \
        --dataset cifar10 --data-dir data --test batch5

Accuracy on the test split against measured latency: every point of our artifacts on our kernels, and the
densest sub-net of every artifact, dense networks of several widths among them, on the dense engines in
float32, bfloat16 and int8. All run in one race for each batch size and number of threads, in turn (A B A B).
Accuracy is that of the very program that is timed. All artifacts should be trained with the same epochs on
the same data: the report names each with its recipe's.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.engines.race import Field, compete, line_up
from benchmarks.engines.tasks import dense_tasks, quantized, tasks_of, tuned
from benchmarks.harness.errors import ExperimentError
from benchmarks.harness.experiment import CACHE, experiment
from benchmarks.harness.quiet import undisturbed
from benchmarks.harness.report import panels, table
from downshift.models import artifact as artifacts
from downshift.models.bundled import locate
from downshift.models.pixels import normalise
from downshift.trainer.data import datasets

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from benchmarks.engines.contenders import InProcess
    from benchmarks.harness.report import Report
    from downshift.models.artifact import Artifact
    from downshift.runtime.request import FloatArray

COUNTED = 32  # images in a batch for accuracy


@dataclass(frozen=True)
class Row:
    """One program: who runs what, in seconds per batch, and its top-1 accuracy on the test split."""

    artifact: str
    ours: int
    engine: str
    sparsity: float
    threads: int
    batch: int
    p50: float
    p10: float
    p90: float
    accuracy: float
    images: int

    @property
    def name(self) -> str:
        """For tables and the picture."""
        return f"{self.artifact} {self.sparsity:.0%} {self.engine}"


def front(rows: Iterable[Row]) -> list[Row]:
    """The rows that no other beats in accuracy at its latency or less, fastest first."""
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.p50, -row.accuracy)):
        if not found or row.accuracy > found[-1].accuracy:
            found.append(row)
    return found


def lost(rows: Sequence[Row]) -> list[tuple[float, float, Row]]:
    """Latencies, from and to, at which a peer is more accurate than all of ours, and the best such peer.

    The last one ends at infinity where the most accurate of all is a peer.
    """
    ends = [*sorted(row.p50 for row in rows), np.inf]
    found: list[tuple[float, float, Row]] = []
    for begin, end in pairwise(ends):
        within = [row for row in rows if row.p50 <= begin]
        best = max(within, key=lambda row: (row.accuracy, row.ours))
        if best.ours or begin == end:
            continue
        if found and found[-1][1] == begin and found[-1][2] == best:
            found[-1] = (found[-1][0], end, best)
        else:
            found.append((begin, end, best))
    return found


def sentence(rows: Sequence[Row]) -> str:
    """One line: where we are not the best, or that we are everywhere."""
    places = lost(rows)
    if not places:
        return "Nobody is more accurate than ours at any latency."
    parts = [
        f"{begin * 1e3:.3g} to {end * 1e3:.3g} ms ({peer.name}, {peer.accuracy:.2%})"
        for begin, end, peer in places
    ]
    return "A peer is more accurate than ours at " + "; ".join(parts) + "."


def accuracy_of(
    program: InProcess, images: NDArray[np.uint8], labels: NDArray[np.int64], artifact: Artifact
) -> float:
    """Top-1 of a program that takes batches of `COUNTED` images; the last batch is filled up."""
    right = 0
    for begin in range(0, len(images), COUNTED):
        batch, truth = images[begin : begin + COUNTED], labels[begin : begin + COUNTED]
        filled = np.resize(batch, (COUNTED, *batch.shape[1:]))
        inputs: FloatArray = normalise(filled.transpose(0, 3, 1, 2), artifact.manifest.input)
        answer = np.asarray(program.run(inputs))[: len(batch)]
        right += int((answer.argmax(axis=1) == truth).sum())
    return right / len(images)


@dataclass(frozen=True, eq=False)
class Entry:
    """An artifact in the race; ours: its sub-nets on our kernels, else only its densest on dense engines."""

    name: str
    artifact: Artifact
    ours: bool

    def programs(self, batch: int, threads: int, tune: float, cache: Path) -> list[InProcess]:
        """Everybody who runs it."""
        names = self.artifact.manifest.names if self.ours else ()
        compiled = tuned(self.artifact, threads, tune if self.ours else 0.0, cache)
        tasks = tasks_of(self.artifact, batch, threads)
        ready = line_up(tasks, dense_tasks(self.artifact, tasks), compiled, None, Field(names))
        return [one for one in ready if not hasattr(one, "process")]  # type: ignore[misc]  # no DeepSparse here


def draw(rows: Sequence[Row]) -> Figure:
    """Accuracy against latency, a panel for each batch size and number of threads; ours are filled."""
    kinds = sorted({(row.threads, row.batch) for row in rows})
    figure, grid = panels(1, len(kinds), size=(6.0, 5.0))
    for axes, kind in zip(grid, kinds, strict=True):
        within = [row for row in rows if (row.threads, row.batch) == kind]
        for index, name in enumerate(dict.fromkeys((row.artifact, row.engine) for row in within)):
            some = [row for row in within if (row.artifact, row.engine) == name]
            style = {"marker": "o" if some[0].ours else "s", "color": f"C{index % 10}"}
            axes.plot(
                [row.p50 * 1e3 for row in some],
                [row.accuracy * 100 for row in some],
                linestyle="-" if some[0].ours else "none",
                fillstyle="full" if some[0].ours else "none",
                label=" ".join(name),
                **style,  # type: ignore[arg-type]
            )
        best = front(within)
        axes.step(
            [row.p50 * 1e3 for row in best], [row.accuracy * 100 for row in best], where="post", color="0.6"
        )
        axes.set(
            xscale="log", xlabel="ms", ylabel="test accuracy, %", title=f"{kind[0]} threads, batch {kind[1]}"
        )
        axes.legend(fontsize=6)
    return figure


def page(rows: Sequence[Row]) -> list[str]:
    """The sentence and the front of every batch size and number of threads."""
    lines = []
    for threads, batch in sorted({(row.threads, row.batch) for row in rows}):
        within = [row for row in rows if (row.threads, row.batch) == (threads, batch)]
        lines += [f"## {threads} threads, batch {batch}", "", sentence(within), ""]
        cells = [
            [row.name, "ours" if row.ours else "peer", f"{row.accuracy:.2%}", f"{row.p50 * 1e3:.3g}",
             f"{row.p10 * 1e3:.3g} to {row.p90 * 1e3:.3g}"]
            for row in front(within)
        ]  # fmt: skip
        lines += [*table(["on the front", "", "accuracy", "p50 ms", "p10 to p90"], cells), ""]
    return lines


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--ours", nargs="+", default=["cifar10-resnet20"], help="artifacts, or bundled names")
    parser.add_argument("--dense", nargs="*", default=[], help="artifacts of dense networks")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--test", default="batch5", help="the test split, as of `downshift evaluate`")
    parser.add_argument("--images", type=int, default=10_000, help="of the test split, at most")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each race")
    parser.add_argument("--tune", type=float, default=1.5, help="seconds for each program that never was")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for artifacts and tilings")


def measure(chosen: Namespace, report: Report) -> None:
    """Count accuracies, then hold the races."""
    entries = [
        Entry(Path(name).stem, quantized(artifacts.read(locate(name)), chosen.cache), ours)
        for names, ours in ((chosen.ours, True), (chosen.dense, False))
        for name in names
    ]
    first = entries[0].artifact.manifest
    data = datasets.load(
        chosen.dataset, chosen.data_dir, validation=1, seed=0, test=chosen.test, download=None
    )
    for entry in entries:
        if (entry.artifact.manifest.input.shape, entry.artifact.manifest.labels) != (
            first.input.shape,
            first.labels,
        ):
            raise ExperimentError(
                f"{entry.name} takes other images or has other classes than {entries[0].name}"
            )
    images = data.test.images.numpy()[: chosen.images]
    labels = data.test.labels.numpy()[: chosen.images]
    accuracies = counted(entries, images, labels, chosen)
    rows = []
    for threads in chosen.threads:
        for batch in chosen.batch:
            field = [
                (entry, program)
                for entry in entries
                for program in entry.programs(batch, threads, chosen.tune, chosen.cache)
                if (entry.name, program.engine, program.sparsity) in accuracies
            ]
            ready = [program for _, program in field]
            samples, others = undisturbed(partial(compete, ready, chosen.seconds))
            print(f"{threads} threads, batch {batch}: others took {others:.1%}", file=sys.stderr)
            for (entry, program), taken in zip(field, samples, strict=True):
                p10, p50, p90 = np.quantile(taken, (0.1, 0.5, 0.9)).tolist()
                key = entry.name, program.engine, program.sparsity
                mine = int(entry.ours and program.engine.startswith("sparse"))
                rows.append(
                    Row(entry.name, mine, program.engine, program.sparsity, threads, batch, p50, p10, p90,
                        accuracies[key], len(images))
                )  # fmt: skip
    report.csv(rows, Row, lambda row: (row.threads, row.batch))
    report.figure(draw(rows))
    told = "; ".join(f"{entry.name}: {recipe_of(entry.artifact)}" for entry in entries)
    report.markdown(
        "Accuracy against latency, ours and dense networks",
        f"Top-1 on {len(images):,} test images of {chosen.dataset} ({chosen.test}). {told}.",
        page(rows),
    )


def counted(
    entries: Sequence[Entry], images: NDArray[np.uint8], labels: NDArray[np.int64], chosen: Namespace
) -> Mapping[tuple[str, str, float], float]:
    """Accuracy by artifact, engine and sparsity; threads do not change it."""
    found = {}
    for entry in entries:
        for program in entry.programs(COUNTED, max(chosen.threads), chosen.tune, chosen.cache):
            accuracy = accuracy_of(program, images, labels, entry.artifact)
            found[entry.name, program.engine, program.sparsity] = accuracy
            print(f"{entry.name} {program.engine} {program.sparsity:.0%}: {accuracy:.2%}", file=sys.stderr)
    return found


def recipe_of(artifact: Artifact) -> str:
    """Network, epochs and seed that the manifest tells of."""
    manifest, run = artifact.manifest, artifact.manifest.provenance.recipe.get("run", {})
    return f"{manifest.network}, {run.get('epochs', '?')} epochs, seed {manifest.provenance.seed}"


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
