"""What do sub-nets cost on a GPU, by engine, pattern and batch, what a switch, and other work beside?

    python -m benchmarks.gpu.sweep torchvision/resnet50 torchvision/resnet18 --torch --seconds 540

Sized for ten minutes of one GPU. Random artifacts (unstructured, channel, 2:4) are made at the first call, on
the CPU; `--prepare` does only that. Then every engine compiles every sub-net, each is run at each batch size
in turn (A B A B, so that every run is a switch) and several times in a row, each answer being checked. Cells
come in the order of their worth; when the time is up, the rest is named. `--device cpu` runs the same code on
the CPU provider: `python -m benchmarks.gpu.sweep cifar-resnet20 --device cpu --batches 1 2 --seconds 20`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.engines.graph_in_torch import GraphModule
from benchmarks.gpu.competing_job import served_beside_a_job
from benchmarks.gpu.placement import engines, memory
from benchmarks.harness.check import check
from benchmarks.harness.errors import ExperimentError
from benchmarks.harness.experiment import CACHE, experiment
from benchmarks.harness.networks import artifact_file, name_of
from benchmarks.harness.report import table
from downshift.models import artifact as artifacts
from downshift.models.materialize import materialize
from downshift.runtime.engines.device_program import DeviceProgram
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.shrink import shrunk
from downshift.runtime.profiling.self_check import sample_inputs

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.harness.report import Report
    from downshift.models.artifact import Artifact
    from downshift.runtime.engines.device_engine import DeviceEngine
    from downshift.runtime.request import FloatArray

BATCHES = (1, 4, 16, 64, 256)
PATTERNS = ("channel", "uniform", "2:4")
TOLERANCE = {"fp32": 1e-2, "fp16": 5e-2, "bf16": 1e-1}
IN_A_ROW = 5
POLICY_SHARE = 0.15  # of the time, for the load policy beside a competing job


@dataclass(frozen=True, kw_only=True)
class Row:
    """Seconds of one sub-net on one engine at one batch size: when each run switches, and when none does.

    build: until the engine had compiled and warmed all sub-nets. bytes: of memory that this took.
    """

    network: str
    masks: str
    engine: str
    subnet: str
    batch: int
    switching_p50: float
    switching_p99: float
    repeated_p50: float
    build: float
    bytes: int


def options(parser: ArgumentParser) -> None:
    """What is measured, where, and for how long."""
    parser.add_argument("networks", nargs="+", help="artifacts, or networks to make random artifacts of")
    parser.add_argument("--masks", nargs="+", default=PATTERNS, help="patterns of the random artifacts")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--seconds", type=float, default=540.0, help="for everything")
    parser.add_argument("--device", default="cuda:0", help="cuda:1, a UUID, or cpu for the CPU provider")
    parser.add_argument("--torch", action="store_true", help="measure torch.compile as well")
    parser.add_argument("--prepare", action="store_true", help="only make the artifacts")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for artifacts and engines")


def measure(chosen: Namespace, report: Report) -> None:
    """Measure cell by cell until the time is up."""
    cells = list(product(chosen.networks, chosen.masks))
    files = {cell: artifact_file(cell[0], chosen.cache, cell[1]) for cell in cells}
    if chosen.prepare:
        return
    end = time.monotonic() + chosen.seconds
    found = engines(chosen.cache, chosen.device, tuple(chosen.batches))
    rows: list[Row] = []
    left_out: list[str] = []
    share = (1.0 - POLICY_SHARE) * chosen.seconds / (len(cells) * (len(found) + chosen.torch))
    for (network, masks), engine in product(cells, found):
        name, what = name_of(network, masks)
        if time.monotonic() >= end - POLICY_SHARE * chosen.seconds:
            left_out.append(f"{name} {what} on {engine.name}")
            continue
        artifact = artifacts.read(files[network, masks])
        rows += on_engine(artifact, engine, (name, what), chosen.batches, share)
        if chosen.torch and engine is found[0]:
            rows += on_torch(artifact, (name, what), chosen, share)
        print(f"{name} {what} on {engine.name}: {len(rows)} rows so far", flush=True)
    if not rows:
        raise ExperimentError(f"--seconds {chosen.seconds:g}: no cell was measured in that time; grant more")
    first = artifacts.read(files[cells[0]])
    phases = served_beside_a_job(first, found[0], chosen.device, POLICY_SHARE * chosen.seconds / 4)
    report.csv(rows, Row, lambda row: (row.network, row.masks, row.engine, row.subnet, row.batch))
    head = ("network", "masks", "engine", "sub-net", "batch", "p50 ms", "p99 ms", "in a row ms")
    lines = table(head, map(_line, rows))
    lines += ["", *table(("requests without a budget", "answers by sub-net"), map(_phase, phases.items()))]
    notes = f"Device {chosen.device}. Not measured for want of time: {', '.join(left_out) or 'nothing'}."
    report.markdown("Sub-nets on a GPU", notes, lines)


def on_engine(
    artifact: Artifact,
    engine: DeviceEngine,
    names: tuple[str, str],
    batches: Sequence[int],
    seconds: float,
) -> list[Row]:
    """All sub-nets that the engine compiles; one that it refuses is named on stdout."""
    before, begin = memory(engine.device), time.perf_counter()
    compiled = engine.compile(artifact, artifact.manifest.names, threads=1)
    build, grown = time.perf_counter() - begin, memory(engine.device) - before
    runs: dict[str, Callable[[FloatArray], FloatArray]] = {}
    for subnet, program in compiled.items():
        if isinstance(program, DeviceProgram):
            runs[subnet] = program.run
        else:
            print(program, flush=True)
    tolerance = TOLERANCE[engine.arithmetic]
    return _rows(artifact, runs, (*names, engine.name), batches, seconds, tolerance, build, grown)


def on_torch(artifact: Artifact, names: tuple[str, str], chosen: Namespace, seconds: float) -> list[Row]:
    """torch.compile of the densest sub-net, and of every one that lost channels, at fixed shapes."""
    runs: dict[str, Callable[[FloatArray], FloatArray]] = {}
    begin = time.perf_counter()
    for subnet in artifact.manifest.subnets:
        graph = lower(materialize(artifact, subnet.name))
        if subnet.pattern.removes_channels:
            graph = shrunk(graph)
        elif runs:
            continue
        runs[subnet.name] = _compiled(GraphModule(graph).eval().to(chosen.device), chosen.device)
    build = time.perf_counter() - begin
    return _rows(artifact, runs, (*names, "torch.compile"), chosen.batches, seconds, 1e-2, build, 0)


def _compiled(module: torch.nn.Module, device: str) -> Callable[[FloatArray], FloatArray]:
    fast = torch.compile(module, dynamic=False)

    def run(batch: FloatArray) -> FloatArray:
        with torch.inference_mode():
            logits: FloatArray = fast(torch.from_numpy(batch).to(device)).float().cpu().numpy()
            return logits

    return run


def _rows(  # noqa: PLR0913, PLR0917 - one cell
    artifact: Artifact,
    runs: Mapping[str, Callable[[FloatArray], FloatArray]],
    names: tuple[str, str, str],
    batches: Sequence[int],
    seconds: float,
    tolerance: float,
    build: float,
    grown: int,
) -> list[Row]:
    rows = []
    for batch in batches:
        images = np.resize(sample_inputs(artifact.manifest), (batch, *artifact.manifest.input.shape))
        expected = {subnet: run(images) for subnet, run in runs.items()}
        _checked(artifact, images, expected, names[-1], tolerance)
        switching: dict[str, list[float]] = {subnet: [] for subnet in runs}
        end = time.monotonic() + seconds / len(batches)
        while not all(switching.values()) or time.monotonic() < end:
            for subnet, run in runs.items():
                switching[subnet].append(_timed(run, images))
        repeated = {
            subnet: [_timed(run, images) for _ in range(IN_A_ROW)][1:] for subnet, run in runs.items()
        }
        for subnet, times in switching.items():
            p50, p99 = np.quantile(times, (0.5, 0.99)).tolist()
            rows.append(
                Row(
                    network=names[0],
                    masks=names[1],
                    engine=names[2],
                    subnet=subnet,
                    batch=batch,
                    switching_p50=p50,
                    switching_p99=p99,
                    repeated_p50=float(np.median(repeated[subnet])),
                    build=build,
                    bytes=grown,
                )
            )
    return rows


def _checked(
    artifact: Artifact, images: FloatArray, answers: Mapping[str, FloatArray], engine: str, tolerance: float
) -> None:
    """The first few logits against the plain export on the CPU; raises `WrongAnswer`."""
    import onnxruntime  # noqa: PLC0415 - the reference

    for subnet, got in answers.items():
        model = materialize(artifact, subnet).SerializeToString()
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        few = images[:2]
        check(engine, got[:2], session.run(None, {artifact.manifest.input.name: few})[0], tolerance)


def _timed(run: Callable[[FloatArray], FloatArray], images: FloatArray) -> float:
    begin = time.perf_counter()
    run(images)
    return time.perf_counter() - begin


def _line(row: Row) -> tuple[str, ...]:
    seconds = (row.switching_p50, row.switching_p99, row.repeated_p50)
    return (
        row.network,
        row.masks,
        row.engine,
        row.subnet,
        str(row.batch),
        *(f"{1e3 * s:.3f}" for s in seconds),
    )


def _phase(phase: tuple[str, Mapping[str, int]]) -> tuple[str, str]:
    when, answers = phase
    return when, ", ".join(f"{subnet} {count}" for subnet, count in sorted(answers.items()))


main = experiment(__doc__, options, measure)

if __name__ == "__main__":
    sys.exit(main())
