"""What does a core that somebody else keeps busy cost a program whose threads need all cores?

    python -m benchmarks.engines.busy_core cifar-resnet18 --threads 2

The sparse engine and onnxruntime run the same sub-net in turn, alone and beside a process of the same
priority that is bound to one core and never stops computing (A B A B). With that core shared by halves, two
threads have three quarters of what they had: dividing the work as it comes, at no cost, would take 1.33 times
as long in the mean, and fixed halves twice as long. The core is shared in slices of milliseconds: of short
runs many meet no neighbour, and a few have to wait for the end of a slice.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.engines import contenders
from benchmarks.engines.contenders import InProcess
from benchmarks.engines.tasks import chosen_artifact, network_options, tasks_of, threads_option, tuned
from benchmarks.harness.experiment import experiment
from benchmarks.harness.neighbour import Neighbour
from benchmarks.harness.networks import name_of
from benchmarks.harness.quiet import undisturbed
from benchmarks.harness.report import table
from downshift.runtime.engines.sparse import SparseEngine
from downshift.runtime.json_cache import JsonCache

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping, Sequence

    from benchmarks.engines.contenders import Contender
    from benchmarks.harness.report import Report

BLOCK_SECONDS = 0.25  # of one engine, many times what the system gives a process at once


@dataclass(frozen=True, eq=False)
class Samples:
    """Seconds of one engine's runs: round by round, alone and beside the neighbour."""

    alone: list[list[float]]
    beside: list[list[float]]

    @property
    def ratios(self) -> list[float]:
        """How many times as long the median run took beside the neighbour, in every round."""
        rounds = zip(self.alone, self.beside, strict=True)
        return [float(np.median(beside) / np.median(alone)) for alone, beside in rounds]


def runs_of(one: Contender) -> int:
    """How many runs of it make a block."""
    return max(3, round(BLOCK_SECONDS / float(np.median(one.time(10)))))


def alternate(ready: Sequence[Contender], neighbour: Neighbour, rounds: int) -> dict[str, Samples]:
    """Every engine alone, then every engine beside the neighbour, that many times; by engine."""
    runs = {one.engine: runs_of(one) for one in ready}
    samples = {one.engine: Samples([], []) for one in ready}
    for _ in range(rounds):
        for one in ready:
            samples[one.engine].alone.append(one.time(runs[one.engine]))
        neighbour.compute()
        for one in ready:
            samples[one.engine].beside.append(one.time(runs[one.engine]))
        neighbour.pause()
    return samples


def lines(samples: Mapping[str, Samples]) -> list[str]:
    """Median, p99 and mean of all runs in milliseconds, and how many times as long beside the neighbour."""
    head = ["engine", "runs", "alone: p50", "p99", "mean", "beside: p50", "p99", "mean",
            "p50 ratio", "of rounds, p10 to p90", "p99 ratio", "mean ratio"]  # fmt: skip
    rows = []
    for engine, one in samples.items():
        alone, beside = (np.concatenate(rounds) for rounds in (one.alone, one.beside))
        of_alone, of_beside = ((*np.quantile(all_, (0.5, 0.99)), all_.mean()) for all_ in (alone, beside))
        low, middle, high = np.quantile(one.ratios, (0.1, 0.5, 0.9))
        milliseconds = [f"{1e3 * value:.3g}" for value in (*of_alone, *of_beside)]
        cells = [engine, str(len(alone)), *milliseconds, f"{middle:.2f}x", f"{low:.2f}x to {high:.2f}x",
                 *(f"{of_beside[of] / of_alone[of]:.2f}x" for of in (1, 2))]  # fmt: skip
        rows.append(cells)
    return table(head, rows)


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    network_options(parser)
    threads_option(parser)
    parser.add_argument("--subnet", default="s90")
    parser.add_argument("--core", type=int, default=0, help="which one is kept busy")
    parser.add_argument("--rounds", type=int, default=40)


def measure(chosen: Namespace, report: Report) -> None:
    """All rounds of both engines, on a machine that nobody else uses."""
    artifact, (name, masks) = chosen_artifact(chosen), name_of(chosen.network, chosen.masks)
    task = tasks_of(artifact, 1, chosen.threads)[chosen.subnet]
    program = tuned(artifact, chosen.threads, chosen.tune, chosen.cache)[chosen.subnet]
    ours = InProcess("sparse", SparseEngine(JsonCache(None)).version, task, program.run)
    ready = [ours, contenders.onnxruntime(task)]
    with Neighbour(chosen.core) as neighbour:
        samples, others = undisturbed(partial(alternate, ready, neighbour, chosen.rounds))
    versions = ", ".join(f"{one.engine} {one.version}" for one in ready)
    replace(report, name=f"busy-core-{name}-{masks}").markdown(
        f"{name} while another process keeps core {chosen.core} busy",
        f"{chosen.threads} threads, batch 1, {chosen.subnet} of {masks} masks. {versions}. "
        f"{chosen.rounds} rounds of {BLOCK_SECONDS:g} s for each engine, alone and beside the neighbour, "
        f"every result checked; others took {others:.1%} of the machine.\n\n"
        "Milliseconds; the p50 ratio is the median over rounds. With two threads on two cores, one "
        "of them shared by halves, the least possible mean is 1.33x, and 2x with fixed halves of the work.",
        lines(samples),
    )


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
