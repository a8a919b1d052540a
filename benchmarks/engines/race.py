"""The sparse engine against other people's, side by side: A B A B in one process, every result checked.

For one network it makes (or reads) an artifact, hands every sub-net to our kernels, some to DeepSparse, the
densest one to the dense engines - for them a masked network takes as long, but where whole channels are
removed they get every sub-net - and runs blocks of each in turn until the time is up. A race that others
disturb is held again. Rows go to engines.csv, one for each engine and sub-net; earlier rows of the same race
are replaced; table and plot are drawn again from all rows. `benchmarks.engines.matrix` holds all races.

    python -m benchmarks.engines.race cifar-resnet18 --batch 1 8 --threads 2 --seconds 20
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.engines import contenders
from benchmarks.engines import report as engines_report
from benchmarks.engines.contenders import InProcess, Task, WrongAnswer
from benchmarks.engines.peak import NoPeak, peak
from benchmarks.engines.report import Row
from benchmarks.harness.quiet import BusyMachine, undisturbed
from benchmarks.harness.random_artifact import SPARSITIES
from benchmarks.harness.random_artifact import main as make_artifact
from downshift.models import artifact as artifacts
from downshift.models.errors import ModelsError
from downshift.models.materialize import materialize
from downshift.models.pattern import Channel
from downshift.runtime.engines.sparse import SparseEngine, SparseProgram
from downshift.runtime.errors import RuntimeFault
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.reference import run as reference
from downshift.runtime.lowering.shrink import shrunk
from downshift.runtime.machine import default_threads
from downshift.runtime.profiling.profile_cache import default_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.engines.contenders import Contender, DeepSparse
    from downshift.models.artifact import Artifact

RESULTS = Path(__file__).parents[1] / "results" / "engines"
BLOCK_SECONDS, PAUSE_SECONDS = 0.02, 0.005
WARMUP_BLOCKS, WARM_SECONDS = 3, 0.05
DIFFERENT_IMAGES = 2
TRAINED = "trained"

MASKS: Mapping[str, tuple[str, ...]] = {
    "uniform": (),
    "erk": ("--allocation", "erk"),
    "4x1": ("--pattern", "block 4x1"),
    "channel": ("--pattern", "channel"),
}
"""Where zeros fall in a synthetic artifact -> what `benchmarks.harness.random_artifact` is told."""

WIDER: Mapping[str, tuple[str, ...]] = {"cifar-resnet32x2": ("cifar-resnet32", "--width", "2")}
"""Networks that are others made wider."""


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


def tuned(artifact: Artifact, threads: int, seconds: float, cache: Path) -> dict[str, SparseProgram]:
    """Every sub-net on our kernels, tuned now or at an earlier call."""
    compiled = SparseEngine(cache).compile(artifact, artifact.manifest.names, threads=threads)
    programs = {name: one for name, one in compiled.items() if isinstance(one, SparseProgram)}
    if len(programs) < len(compiled):
        raise next(one for one in compiled.values() if not isinstance(one, SparseProgram))
    for program in programs.values():
        if seconds and not program.tuned:
            program.tune(seconds)
    return programs


def tasks_of(artifact: Artifact, batch: int, threads: int) -> dict[str, Task]:
    """What each sub-net has to compute, densest first; logits come from the double-precision oracle.

    A large batch repeats a few different images. Removed channels are gone.
    """
    different = min(batch, DIFFERENT_IMAGES)
    images = np.random.default_rng(0).standard_normal((different, *artifact.manifest.input.shape), np.float32)
    order = np.arange(batch) % different
    tasks = {}
    for subnet in artifact.manifest.subnets:
        graph = lower(materialize(artifact, subnet.name))
        if isinstance(subnet.pattern, Channel):
            graph = shrunk(graph)
        expected = reference(graph, images).astype(np.float32)
        tasks[subnet.name] = Task(
            graph, subnet.sparsity, np.ascontiguousarray(images[order]), expected[order], threads
        )
    return tasks


def dense_tasks(artifact: Artifact, tasks: Mapping[str, Task]) -> list[Task]:
    """What dense engines are given: the densest sub-net, and those that removed channels make smaller."""
    names = artifact.manifest.names
    smaller = [name for name in names[1:] if isinstance(artifact.manifest.subnet(name).pattern, Channel)]
    return [tasks[name] for name in (names[0], *smaller)]


def line_up(
    tasks: Mapping[str, Task],
    dense: Sequence[Task],
    programs: Mapping[str, SparseProgram],
    deepsparse: DeepSparse | None,
    field: Field,
) -> list[Contender]:
    """Everybody who can take part; who cannot is named on stderr."""
    makers: list[Callable[[], Contender]] = []
    for task in dense:
        makers += [
            partial(contenders.onnxruntime, task),
            partial(contenders.openvino, task),
            partial(contenders.openvino, task, "bf16"),
        ]
    if field.torch:
        makers.append(partial(contenders.eager_torch, dense[0], compiled=True))
    version = SparseEngine(Path()).version
    makers += [partial(InProcess, "sparse", version, tasks[name], programs[name].run) for name in field.ours]
    if deepsparse is not None:
        makers += [partial(deepsparse.load, tasks[name]) for name in field.deepsparse]
    ready: list[Contender] = []
    for make in makers:
        try:
            contender = make()
            contender.time(1, warm=False)
        except (WrongAnswer, RuntimeError) as reason:
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


def synthetic_options(parser: argparse.ArgumentParser) -> None:
    """What a measurement of one synthetic artifact is told: network, masks, threads, tuning, folders."""
    parser.add_argument("network", help="one to make a synthetic artifact of")
    parser.add_argument("--masks", choices=MASKS, default="uniform")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--tune", type=float, default=3.0, help="seconds for each sub-net that never was")
    parser.add_argument("--artifacts", type=Path, default=default_folder() / "synthetic")
    parser.add_argument("--out", type=Path, default=RESULTS)


def artifact_at(path: Path, network: str, masks: str) -> Artifact:
    """The artifact in the file, made first where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        sparsities = [str(sparsity) for sparsity in SPARSITIES]
        named = WIDER.get(network, (network,))
        make_artifact([*named, "--out", str(path), *MASKS[masks], "--sparsity", *sparsities])
    return artifacts.read(path)


def known(names: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The wanted of these names, or all of them; those that do not exist are left out."""
    return tuple(name for name in names if wanted is None or name in wanted)


def main(arguments: Sequence[str] | None = None) -> int:
    """Hold the races the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engines.race",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "network", help="a network to make a synthetic artifact of, or the path of an artifact"
    )
    parser.add_argument("--masks", choices=MASKS, default="uniform", help="of a synthetic artifact")
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, nargs="+", default=[default_threads()])
    parser.add_argument("--seconds", type=float, default=20.0, help="of one race; 0 only tunes")
    parser.add_argument("--tune", type=float, default=3.0, help="seconds for each sub-net that never was")
    parser.add_argument("--subnets", nargs="+", help="those our kernels run, by default all")
    parser.add_argument("--deepsparse", type=Path, help="python of an environment with deepsparse 1.8.0")
    parser.add_argument("--deepsparse-subnets", nargs="+", help="those it runs, by default all")
    parser.add_argument("--torch-compile", action="store_true", help="takes a minute to compile")
    parser.add_argument("--artifacts", type=Path, default=default_folder() / "synthetic")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    given = Path(chosen.network)
    is_file = given.suffix == ".onnx"
    masks = TRAINED if is_file else chosen.masks
    path = given if is_file else chosen.artifacts / f"{given.name}-{masks}.onnx"
    deepsparse = contenders.DeepSparse(chosen.deepsparse) if chosen.deepsparse else None
    try:
        artifact = artifact_at(path, chosen.network, masks)
        names = artifact.manifest.names
        field = Field(
            known(names, chosen.subnets), known(names, chosen.deepsparse_subnets), chosen.torch_compile
        )
        for threads in chosen.threads:
            programs = tuned(artifact, threads, chosen.tune, chosen.artifacts)
            for batch in chosen.batch if chosen.seconds else ():
                race = Race(given.stem, masks, batch, threads)
                tasks = tasks_of(artifact, batch, threads)
                ready = line_up(tasks, dense_tasks(artifact, tasks), programs, deepsparse, field)
                rows = hold(race, artifact, ready, chosen.seconds)
                engines_report.add(chosen.out, rows)
                print(engines_report.summary(rows), flush=True)
    except (ModelsError, RuntimeFault, WrongAnswer, BusyMachine, NoPeak) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if deepsparse is not None:
            deepsparse.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
