"""Is the sparse engine faster than other people's, side by side, every result checked?

    python -m benchmarks.engines.race cifar-resnet18 --batch 1 8 --threads 2 --seconds 20

For one network every sub-net runs on our kernels, in float32 and in int8, some on DeepSparse, the densest one
on the dense engines in float32, bfloat16 and int8 - for them a masked network takes as long, but where whole
channels are removed they get every sub-net. Blocks
of each run in turn (A B A B) until the time is up. A race that others disturb is held again. Rows go to
engines.csv, one for each engine and sub-net; earlier rows of the same race are replaced; page and plot are
made again from all rows. `benchmarks.engines.matrix` holds all races.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.engines import contenders
from benchmarks.engines import rows as races
from benchmarks.engines.contenders import InProcess
from benchmarks.engines.peak import peak
from benchmarks.engines.rows import Row
from benchmarks.engines.tasks import (
    chosen_artifact,
    dense_tasks,
    network_options,
    quantized,
    tasks_of,
    tuned,
)
from benchmarks.harness.errors import WrongAnswer
from benchmarks.harness.experiment import experiment
from benchmarks.harness.networks import name_of
from benchmarks.harness.quiet import undisturbed
from downshift.runtime.engines.sparse import SparseEngine
from downshift.runtime.engines.sparse_int8 import SparseInt8Engine
from downshift.runtime.json_cache import JsonCache
from downshift.runtime.machine import default_threads

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.engines.contenders import Contender, DeepSparse, Task
    from benchmarks.harness.report import Report
    from downshift.models.artifact import Artifact
    from downshift.runtime.engines.engine import Program

BLOCK_SECONDS, PAUSE_SECONDS = 0.02, 0.005
WARMUP_BLOCKS, WARM_SECONDS = 3, 0.05


@dataclass(frozen=True)
class Race:
    """One network, batch size and number of threads."""

    network: str
    masks: str
    batch: int
    threads: int


@dataclass(frozen=True)
class Field:
    """Who takes part besides the dense engines.

    ours: sub-nets for our kernels. deepsparse: sub-nets for DeepSparse. torch: torch.compile, too.
    """

    ours: tuple[str, ...]
    deepsparse: tuple[str, ...] = ()
    torch: bool = False


def line_up(
    tasks: Mapping[str, Task],
    dense: Sequence[Task],
    programs: Mapping[str, Program],
    deepsparse: DeepSparse | None,
    field: Field,
) -> list[Contender]:
    """Everybody who can take part; who cannot is named on stderr."""
    versions = {engine.name: engine.version for engine in (SparseEngine(JsonCache(None)), SparseInt8Engine())}
    makers: list[Callable[[], Contender]] = []
    for task in dense:
        makers += [
            partial(contenders.onnxruntime, task),
            partial(contenders.openvino, task),
        ]
        if task.precision == "fp32":
            makers.append(partial(contenders.openvino, task, half=True))
    if field.torch:
        makers.append(partial(contenders.eager_torch, dense[0], compiled=True))
    for name in field.ours:
        for point in (name, f"{name}-int8"):
            if point in programs:
                program = programs[point]
                makers.append(
                    partial(InProcess, program.engine, versions[program.engine], tasks[point], program.run)
                )
    if deepsparse is not None:
        makers += [partial(deepsparse.load, tasks[name]) for name in field.deepsparse]
    ready: list[Contender] = []
    for make in makers:
        try:
            contender = make()
            contender.time(1, warm=False)
        except (WrongAnswer, RuntimeError, ImportError) as reason:
            print(f"not in the race: {reason}", file=sys.stderr)
        else:
            ready.append(contender)
    return ready


def compete(ready: Sequence[Contender], seconds: float) -> list[list[float]]:
    """Seconds of every run of each, block by block in turn, at least three blocks."""
    blocks = []
    for contender in ready:
        once = min(contender.time(1, warm=False))
        if once < WARM_SECONDS:
            once = min(min(contender.time(2)) for _ in range(WARMUP_BLOCKS))
        blocks.append((max(1, min(50, int(BLOCK_SECONDS / once))), once < WARM_SECONDS))
    samples: list[list[float]] = [[] for _ in ready]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples[0]) < 3 * blocks[0][0]:
        for contender, (count, warm), taken in zip(ready, blocks, samples, strict=True):
            time.sleep(PAUSE_SECONDS)
            taken.extend(contender.time(count, warm=warm))
    return samples


def hold(race: Race, artifact: Artifact, ready: Sequence[Contender], seconds: float) -> list[Row]:
    """The rows of one race, held again where others disturbed it; raises `BusyMachine` if they always do."""
    most = peak(race.threads)
    samples, others = undisturbed(lambda: compete(ready, seconds))
    rows = []
    for contender, taken in zip(ready, samples, strict=True):
        subnet = min(artifact.manifest.subnets, key=lambda one: abs(one.sparsity - contender.sparsity))
        p10, p50, p90 = np.quantile(taken, (0.1, 0.5, 0.9)).tolist()
        work = race.batch * subnet.flops / 2
        rows.append(
            Row(
                race.network, race.masks, race.batch, race.threads, contender.engine, contender.version,
                contender.sparsity, p50, p10, p90, len(taken), work / p50 / most, others,
            )
        )  # fmt: skip
    return rows


def known(names: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The wanted of these names, or all of them; those that do not exist are left out."""
    return tuple(name for name in names if wanted is None or name in wanted)


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    network_options(parser)
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, nargs="+", default=[default_threads()])
    parser.add_argument("--seconds", type=float, default=20.0, help="of one race; 0 only tunes")
    parser.add_argument("--subnets", nargs="+", help="those our kernels run, by default all")
    parser.add_argument("--deepsparse", type=Path, help="python of an environment with deepsparse 1.8.0")
    parser.add_argument("--deepsparse-subnets", nargs="+", help="those it runs, by default all")
    parser.add_argument("--torch-compile", action="store_true", help="takes a minute to compile")


def measure(chosen: Namespace, report: Report) -> None:
    """A race for every number of threads and every batch size."""
    artifact = quantized(chosen_artifact(chosen), chosen.cache)
    network, masks = name_of(chosen.network, chosen.masks)
    names = artifact.manifest.names
    field = Field(known(names, chosen.subnets), known(names, chosen.deepsparse_subnets), chosen.torch_compile)
    worker = closing(contenders.DeepSparse(chosen.deepsparse)) if chosen.deepsparse else nullcontext()
    with worker as deepsparse:
        for threads in chosen.threads:
            programs = tuned(artifact, threads, chosen.tune, chosen.cache)
            for batch in chosen.batch if chosen.seconds else ():
                tasks = tasks_of(artifact, batch, threads)
                ready = line_up(tasks, dense_tasks(artifact, tasks), programs, deepsparse, field)
                race = Race(network, masks, batch, threads)
                rows = hold(race, artifact, ready, chosen.seconds)
                races.add(replace(report, name="engines"), rows)
                print(races.summary(rows), flush=True)


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
