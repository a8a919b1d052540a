"""What does holding all sub-nets cost: memory, the price of a switch, and the tail of the latency?

    python -m benchmarks.engines.switching cifar-resnet18 --threads 2

Before anything is timed, every sub-net's logits are checked.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.engines.contenders import TOLERANCES
from benchmarks.engines.tasks import (
    chosen_artifact,
    network_options,
    quantized,
    tasks_of,
    threads_option,
    tuned,
)
from benchmarks.harness.check import check
from benchmarks.harness.experiment import experiment
from benchmarks.harness.networks import name_of
from benchmarks.harness.quiet import undisturbed
from benchmarks.harness.report import table
from downshift.models.materialize import materialize
from downshift.runtime.lowering.lower import lower

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

    from benchmarks.engines.tasks import Compiled
    from benchmarks.harness.check import Floats
    from benchmarks.harness.report import Report
    from downshift.models.artifact import Artifact

FLOAT = 4


def memory(artifact: Artifact, programs: Mapping[str, Compiled]) -> str:
    """Streams of all sub-nets, and of all but the densest, in each precision, by one dense float32 model."""
    points, densest = artifact.manifest.points, artifact.manifest.subnets[0]
    dense = lower(materialize(artifact, densest.name)).weights * FLOAT
    sentences = [f"One dense fp32 model takes {dense / 2**20:.1f} MiB."]
    for precision in dict.fromkeys(point.precision for point in points):
        held = [point for point in points if point.precision == precision and point.name in programs]
        sizes = {point.name: programs[point.name].stream_bytes for point in held}
        parts = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in sizes.items())
        whole = sum(sizes.values())
        rest = whole - sum(sizes[point.name] for point in held if point.subnet is densest)
        sentences.append(
            f"Streams in {precision} take {whole / 2**20:.1f} MiB ({parts}): {whole / dense:.2f} of it, "
            f"{rest / dense:.2f} without {densest.name}."
        )
    return " ".join(sentences)


def seconds_of(program: Compiled, images: Floats) -> float:
    """Of one run."""
    begin = time.perf_counter()
    program.run(images)
    return time.perf_counter() - begin


def switches(programs: Mapping[str, Compiled], images: Floats, rounds: int) -> list[str]:
    """For every sub-net the median of runs after itself, and of runs after all others."""
    warm: dict[str, list[float]] = {name: [] for name in programs}
    cold: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            cold[name].append(seconds_of(program, images))
        for name, program in programs.items():
            program.run(images)
            warm[name].append(seconds_of(program, images))
    rows = []
    for name in programs:
        after_itself, after_others = np.median(warm[name]) * 1e6, np.median(cold[name]) * 1e6
        difference = after_others - after_itself
        rows.append([name, f"{after_itself:.0f}", f"{after_others:.0f}", f"{difference:+.0f}"])
    return table(["sub-net", "after itself, us", "after the others, us", "switch, us"], rows)


def tail(program: Compiled, images: Floats, runs: int) -> str:
    """Quantiles of many runs in a row."""
    p50, p99, worst = np.quantile([seconds_of(program, images) for _ in range(runs)], (0.5, 0.99, 1)) * 1e6
    return f"{runs} runs: p50 {p50:.0f} us, p99 {p99:.0f} us ({p99 / p50:.2f}x), slowest {worst:.0f} us."


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    network_options(parser)
    threads_option(parser)
    parser.add_argument("--subnet", default="s90", help="whose tail to measure")
    parser.add_argument("--rounds", type=int, default=300, help="switches between all sub-nets")
    parser.add_argument("--runs", type=int, default=10_000, help="in a row, for the tail")


def measure(chosen: Namespace, report: Report) -> None:
    """Memory, switches and tail, each timed on a machine that others leave alone."""
    artifact = quantized(chosen_artifact(chosen), chosen.cache)
    name, masks = name_of(chosen.network, chosen.masks)
    programs, tasks = tuned(artifact, chosen.threads, chosen.tune, chosen.cache), tasks_of(artifact, 1, 1)
    for subnet, program in programs.items():
        task = tasks[subnet]
        check(subnet, program.run(task.images), task.expected, TOLERANCES[task.precision])
    images = tasks[chosen.subnet].images
    densest = artifact.manifest.subnets[0]
    sparse = {
        point.name: programs[point.name]
        for point in artifact.manifest.points
        if point.name in programs and point.subnet is not densest
    }
    switched, others = undisturbed(partial(switches, sparse, images, chosen.rounds))
    ran, others_later = undisturbed(partial(tail, programs[chosen.subnet], images, chosen.runs))
    replace(report, name=f"switching-{name}-{masks}").markdown(
        f"All sub-nets of {name} at once",
        f"{chosen.threads} threads, batch 1, {masks} masks. Others took {others:.1%} of the machine during "
        f"the switches, {others_later:.1%} during the runs.\n\n{memory(artifact, programs)}",
        [*switched, "", f"{chosen.subnet}, {ran}"],
    )


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
