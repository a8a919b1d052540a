"""What holding all sub-nets costs: memory, the price of a switch, and the tail of the latency.

python -m benchmarks.engines.switching cifar-resnet18 --threads 2
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.engines.race import artifact_at, synthetic_options, tuned
from benchmarks.harness.quiet import BusyMachine, undisturbed
from downshift.models.errors import ModelsError
from downshift.models.materialize import materialize
from downshift.runtime.errors import RuntimeFault
from downshift.runtime.lowering.lower import lower
from downshift.runtime.machine import this_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.models.artifact import Artifact
    from downshift.runtime.engines.sparse import SparseProgram

FLOAT = 4
ROUNDS = 300


def memory(artifact: Artifact, programs: dict[str, SparseProgram]) -> str:
    """Streams of all sub-nets but the densest, as a multiple of one dense float32 model."""
    names = artifact.manifest.names
    dense = lower(materialize(artifact, names[0])).weights * FLOAT
    streams = [programs[name].stream_bytes for name in names[1:]]
    parts = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in zip(names[1:], streams, strict=True))
    return (
        f"Streams of {len(streams)} sub-nets take {sum(streams) / 2**20:.1f} MiB ({parts}): "
        f"{sum(streams) / dense:.2f} of one dense fp32 model ({dense / 2**20:.1f} MiB)."
    )


def seconds_of(program: SparseProgram, images: np.ndarray) -> float:
    """Of one run."""
    begin = time.perf_counter()
    program.run(images)
    return time.perf_counter() - begin


def switches(programs: dict[str, SparseProgram], images: np.ndarray) -> list[str]:
    """For every sub-net the median of runs after itself, and of runs after all others."""
    warm: dict[str, list[float]] = {name: [] for name in programs}
    cold: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, program in programs.items():
            cold[name].append(seconds_of(program, images))
        for name, program in programs.items():
            program.run(images)
            warm[name].append(seconds_of(program, images))
    lines = ["| sub-net | after itself, us | after the others, us | switch, us |", "|---|---|---|---|"]
    for name in programs:
        after_itself, after_others = np.median(warm[name]) * 1e6, np.median(cold[name]) * 1e6
        difference = after_others - after_itself
        lines.append(f"| {name} | {after_itself:.0f} | {after_others:.0f} | {difference:+.0f} |")
    return lines


def tail(program: SparseProgram, images: np.ndarray, runs: int) -> str:
    """Quantiles of many runs in a row."""
    p50, p99, worst = np.quantile([seconds_of(program, images) for _ in range(runs)], (0.5, 0.99, 1)) * 1e6
    return f"{runs} runs: p50 {p50:.0f} us, p99 {p99:.0f} us ({p99 / p50:.2f}x), slowest {worst:.0f} us."


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engines.switching",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    synthetic_options(parser)
    parser.add_argument("--subnet", default="s90", help="whose tail to measure")
    parser.add_argument("--runs", type=int, default=10_000)
    chosen = parser.parse_args(arguments)
    try:
        name = Path(chosen.network).name
        artifact = artifact_at(chosen.artifacts / f"{name}-{chosen.masks}.onnx", chosen.network, chosen.masks)
        programs = tuned(artifact, chosen.threads, chosen.tune, chosen.artifacts)
        images = np.random.default_rng(0).standard_normal((1, *artifact.manifest.input.shape), np.float32)
        sparse = {subnet: programs[subnet] for subnet in artifact.manifest.names[1:]}
        switched, others = undisturbed(lambda: switches(sparse, images))
        ran, others_later = undisturbed(lambda: tail(programs[chosen.subnet], images, chosen.runs))
    except (ModelsError, RuntimeFault, BusyMachine) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    machine = this_machine(chosen.threads, {})
    where = f"{machine.cpu}, {chosen.threads} threads, batch 1, {chosen.masks} masks."
    quiet = (
        f"Others took {others:.1%} of the machine during the switches, {others_later:.1%} during the runs."
    )
    title = f"# All sub-nets of {name} at once\n\n{where} {quiet}"
    text = "\n".join(
        [title, "", memory(artifact, programs), "", *switched, "", f"{chosen.subnet}, {ran}", ""]
    )
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / f"switching-{name}-{chosen.masks}.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
