"""How do all engines compare on all networks, masks, batch sizes and threads? One process a race.

    python -m benchmarks.engines.matrix --deepsparse .venv/.deepsparse/bin/python --minutes 10 --match vgg

The plan says which races are held, and how long each lasts; a race whose rows were measured with these
kernels is not held again, so that the whole can be done in pieces, and a race that failed or was disturbed is
held by the next call.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.engines.rows import OURS, Row
from benchmarks.harness.errors import ExperimentError
from benchmarks.harness.experiment import CACHE, experiment
from benchmarks.harness.networks import BUNDLED, TRAINED, name_of
from benchmarks.harness.report import load
from downshift.runtime.engines.sparse import SparseEngine
from downshift.runtime.json_cache import JsonCache

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Sequence

    from benchmarks.harness.report import Report

SMALL = ("cifar-resnet18", "cifar-resnet20", "cifar-resnet32x2", "cifar-wrn22-2", "cifar-vgg19-bn",
         "cifar-mobilenet-v1")  # fmt: skip
LARGE = "torchvision/resnet50"
BATCHES, THREADS = (1, 8, 32), (1, 2)
SPARSE = ("s80", "s90", "s95", "s98")
ENDS = ("s00", "s90")
LIMIT_SECONDS = 3600


@dataclass(frozen=True)
class Cell:
    """Races of one artifact on some threads, in one process.

    seconds: of each race. ours, deepsparse: sub-nets, by default all and the two ends.
    """

    network: str
    masks: str
    threads: int
    batches: tuple[int, ...] = BATCHES
    seconds: float = 4.0
    ours: tuple[str, ...] = ()
    deepsparse: tuple[str, ...] = ENDS
    torch: bool = False
    tune: float = 2.0

    def __str__(self) -> str:
        name, batches = name_of(self.network, self.masks)[0], ", ".join(map(str, self.batches))
        return f"{name} {self.masks}, threads {self.threads}, batch {batches}"

    def arguments(self, batches: Sequence[int], deepsparse: Path | None) -> list[str]:
        """For `benchmarks.engines.race`, but for where things lie."""
        chosen = [self.network, "--threads", str(self.threads), "--batch", *map(str, batches)]
        chosen += ["--seconds", str(self.seconds), "--tune", str(self.tune)]
        if self.masks != TRAINED:
            chosen += ["--masks", self.masks]
        if self.ours:
            chosen += ["--subnets", *self.ours]
        if self.torch:
            chosen.append("--torch-compile")
        if deepsparse is not None and self.deepsparse:
            chosen += ["--deepsparse", str(deepsparse), "--deepsparse-subnets", *self.deepsparse]
        return chosen

    def missing(self, rows: Sequence[Row], version: str) -> tuple[int, ...]:
        """Batches that were not raced with these kernels."""
        name = name_of(self.network, self.masks)[0]
        done = {row.race for row in rows if row.engine == OURS and row.version == version}
        return tuple(b for b in self.batches if (name, self.masks, b, self.threads) not in done)


def plan() -> Iterator[Cell]:
    """Every cell, those with a goal first and for longer."""
    yield Cell("cifar-resnet18", "uniform", 2, (1,), 15.0, deepsparse=("s00", *SPARSE), torch=True)
    yield Cell("cifar-resnet18", "uniform", 1, (1,), 10.0, torch=True)
    for masks in ("1x4", "4x4"):
        yield Cell("cifar-resnet18", masks, 1, (1,), 10.0)
        yield Cell("cifar-resnet18", masks, 2, BATCHES, 10.0)
    yield Cell("cifar-resnet20", "1x4", 1, (1,), 10.0)
    yield Cell("cifar-mobilenet-v1", "1x4", 1, (1,), 10.0)
    yield Cell(LARGE, "1x4", 1, (1,), 12.0, ours=SPARSE, deepsparse=("s90",), tune=8.0)
    yield Cell("cifar-resnet18", "4x1", 2, (1,), 10.0)
    yield Cell("cifar-resnet18", "erk", 2, (1,), 8.0)
    yield Cell("cifar-resnet20", "uniform", 1, (1,), 10.0, torch=True)
    yield Cell(LARGE, "uniform", 2, (1,), 12.0, deepsparse=("s00", "s90"), tune=8.0)
    for network in SMALL:
        for masks in ("uniform", "erk"):
            for threads in THREADS:
                yield Cell(network, masks, threads)
    for threads in THREADS:
        yield Cell(BUNDLED, TRAINED, threads, seconds=6.0, deepsparse=("s50", "s90"))
        for masks in ("4x1", "1x4", "4x4"):
            yield Cell("cifar-resnet18", masks, threads)
        yield Cell("cifar-resnet18", "channel", threads, deepsparse=())
    for masks in ("uniform", "erk"):
        for threads in THREADS:
            yield Cell(LARGE, masks, threads, (1, 8), seconds=6.0, tune=8.0)
    for masks in ("uniform", "erk"):
        for threads in THREADS:
            yield Cell(LARGE, masks, threads, (32,), 1.0, ours=SPARSE, deepsparse=("s90",), tune=8.0)


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument(
        "--match", default="", help="only cells whose text, as --list shows it, contains this"
    )
    parser.add_argument("--list", action="store_true", help="only say what is missing")
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no cell after that long")
    parser.add_argument("--through", default="", help="a command to start each process with, such as nice")
    parser.add_argument("--deepsparse", type=Path, help="python of an environment with deepsparse 1.8.0")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for artifacts and tilings")


def measure(chosen: Namespace, report: Report) -> None:
    """Hold the races of the plan that are missing; raises `ExperimentError` naming those that failed."""
    end = time.monotonic() + 60.0 * chosen.minutes
    version = SparseEngine(JsonCache(None)).version
    places = ["--cache", str(chosen.cache), "--out", str(report.folder)]
    failed = []
    for cell in plan():
        batches = cell.missing(load(report.folder / "engines.csv", Row), version)
        if not batches or chosen.match not in str(cell):
            continue
        print(f"== {cell}", flush=True)
        if chosen.list:
            continue
        if time.monotonic() > end:
            print("time is up: run it again for the rest")
            break
        command = [*shlex.split(chosen.through), sys.executable, "-m", "benchmarks.engines.race"]
        if not _ran([*command, *cell.arguments(batches, chosen.deepsparse), *places]):
            failed.append(cell)
    if failed:
        raise ExperimentError("\n".join(f"failed: {cell}" for cell in failed))


def _ran(command: Sequence[str]) -> bool:
    try:
        return not subprocess.run(command, timeout=LIMIT_SECONDS, check=False).returncode  # noqa: S603
    except subprocess.TimeoutExpired:
        return False


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
