"""The sparse engine against other people's, side by side: A B A B in one process, every result checked.

For one network it makes (or reads) an artifact, hands every sub-net to our kernels and to DeepSparse, the
densest one to the dense engines - for them a masked network takes as long - and runs blocks of each in turn
until the time is up. Rows go to results/engines.csv, one for each engine and sub-net; earlier rows of the
same race are replaced; table and plot are drawn again from all rows.

    python -m benchmarks.engines cifar-resnet18 --batch 1 8 --threads 2 --seconds 20
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
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from benchmarks import contenders, engines_report
from benchmarks.contenders import InProcess, Task, WrongAnswer
from benchmarks.engines_report import Row
from benchmarks.quiet import BusyMachine, check_alone, usage
from benchmarks.synthetic import ALLOCATIONS, SPARSITIES
from benchmarks.synthetic import main as make_synthetic
from models import artifact as artifacts
from models.errors import ModelsError
from models.materialize import materialize
from runtime.errors import RuntimeFault
from runtime.lowering.lower import lower
from runtime.lowering.reference import run as reference
from runtime.machine import default_threads
from runtime.profile_cache import default_folder
from runtime.sparse_engine import SparseEngine, SparseProgram

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.contenders import Contender, DeepSparse
    from models.artifact import Artifact

RESULTS = Path(__file__).parent / "results"
BLOCK_SECONDS, PAUSE_SECONDS = 0.02, 0.005
WARMUP_BLOCKS = 3
MATRIX = 1536


@dataclass(frozen=True)
class Race:
    """One network, batch size and number of threads."""

    network: str
    allocation: str
    batch: int
    threads: int


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
    """What each sub-net has to compute, densest first; logits come from the double-precision oracle."""
    images = np.random.default_rng(0).standard_normal((batch, *artifact.manifest.input.shape), np.float32)
    tasks = {}
    for subnet in artifact.manifest.subnets:
        graph = lower(materialize(artifact, subnet.name))
        expected = reference(graph, images).astype(np.float32)
        tasks[subnet.name] = Task(graph, subnet.sparsity, images, expected, threads)
    return tasks


def line_up(
    tasks: dict[str, Task],
    programs: dict[str, SparseProgram],
    deepsparse: DeepSparse | None,
    *,
    compiled_torch: bool,
) -> list[Contender]:
    """Everybody who can take part; who cannot is named on stderr."""
    dense = next(iter(tasks.values()))
    makers: list[Callable[[], Contender]] = [
        partial(contenders.onnxruntime, dense),
        partial(contenders.openvino, dense),
        partial(contenders.openvino, dense, "bf16"),
        partial(contenders.eager_torch, dense),
    ]
    if compiled_torch:
        makers.append(partial(contenders.eager_torch, dense, compiled=True))
    version = SparseEngine(Path()).version
    for name, task in tasks.items():
        makers.append(partial(InProcess, "sparse", version, task, programs[name].run))
        if deepsparse is not None:
            makers.append(partial(deepsparse.load, task))
    ready: list[Contender] = []
    for make in makers:
        try:
            contender = make()
            contender.time(1)
        except (WrongAnswer, RuntimeError) as reason:
            print(f"not in the race: {reason}", file=sys.stderr)
        else:
            ready.append(contender)
    return ready


def compete(ready: Sequence[Contender], seconds: float) -> list[list[float]]:
    """Seconds of every run of each, block by block in turn."""
    runs = []
    for contender in ready:
        once = min(min(contender.time(2)) for _ in range(WARMUP_BLOCKS))
        runs.append(max(1, min(50, int(BLOCK_SECONDS / once))))
    samples: list[list[float]] = [[] for _ in ready]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples[0]) < 3 * runs[0]:
        for contender, count, taken in zip(ready, runs, samples, strict=True):
            time.sleep(PAUSE_SECONDS)
            taken.extend(contender.time(count))
    return samples


def sgemm_peak(threads: int) -> float:
    """Multiply-adds a second of onnxruntime's float32 matrix product on this machine."""
    operand = helper.make_tensor_value_info("x", TensorProto.FLOAT, [MATRIX, MATRIX])
    product = helper.make_tensor_value_info("y", TensorProto.FLOAT, [MATRIX, MATRIX])
    weight = np.random.default_rng(0).random((MATRIX, MATRIX), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [operand],
        [product],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    seconds = []
    for _ in range(12):
        begin = time.perf_counter()
        session.run(None, {"x": weight})
        seconds.append(time.perf_counter() - begin)
    return MATRIX**3 / min(seconds)


def hold(race: Race, artifact: Artifact, ready: Sequence[Contender], seconds: float) -> list[Row]:
    """The rows of one race; raises `BusyMachine` where others disturbed it."""
    peak = sgemm_peak(race.threads)
    begin = usage()
    samples = compete(ready, seconds)
    check_alone(begin)
    rows = []
    for contender, taken in zip(ready, samples, strict=True):
        subnet = min(artifact.manifest.subnets, key=lambda one: abs(one.sparsity - contender.sparsity))
        p10, p50, p90 = np.quantile(taken, (0.1, 0.5, 0.9)).tolist()
        work = race.batch * subnet.flops / 2
        rows.append(
            Row(
                race.network, race.allocation, race.batch, race.threads, contender.engine, contender.version,
                contender.sparsity, p50, p10, p90, len(taken), work / p50 / peak,
            )
        )  # fmt: skip
    return rows


def artifact_at(path: Path, network: str, allocation: str) -> Artifact:
    """The artifact in the file, made first where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        sparsities = [str(sparsity) for sparsity in SPARSITIES]
        make_synthetic([network, "--out", str(path), "--allocation", allocation, "--sparsity", *sparsities])
    return artifacts.read(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Hold the races the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engines",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "network", help="a network to make a synthetic artifact of, or the path of an artifact"
    )
    parser.add_argument("--allocation", choices=ALLOCATIONS, default="uniform")
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, nargs="+", default=[default_threads()])
    parser.add_argument("--seconds", type=float, default=20.0, help="of one race")
    parser.add_argument("--tune", type=float, default=3.0, help="seconds for each sub-net that never was")
    parser.add_argument("--deepsparse", type=Path, help="python of an environment with deepsparse 1.8.0")
    parser.add_argument("--torch-compile", action="store_true", help="takes a minute to compile")
    parser.add_argument("--artifacts", type=Path, default=default_folder() / "synthetic")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    given = Path(chosen.network)
    is_file = given.suffix == ".onnx"
    allocation = "trained" if is_file else chosen.allocation
    path = given if is_file else chosen.artifacts / f"{given.name}-{allocation}.onnx"
    deepsparse = contenders.DeepSparse(chosen.deepsparse) if chosen.deepsparse else None
    try:
        artifact = artifact_at(path, chosen.network, allocation)
        for threads in chosen.threads:
            programs = tuned(artifact, threads, chosen.tune, chosen.artifacts)
            for batch in chosen.batch if chosen.seconds else ():
                race = Race(given.stem, allocation, batch, threads)
                tasks = tasks_of(artifact, batch, threads)
                ready = line_up(tasks, programs, deepsparse, compiled_torch=chosen.torch_compile)
                rows = hold(race, artifact, ready, chosen.seconds)
                engines_report.add(chosen.out, rows)
                print(engines_report.summary(rows))
    except (ModelsError, RuntimeFault, WrongAnswer, BusyMachine) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if deepsparse is not None:
            deepsparse.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
