"""What engines are given: every sub-net as a task with its right logits, and as a program of our kernels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.engines.contenders import Task
from benchmarks.harness.experiment import CACHE
from benchmarks.harness.networks import MASKS, artifact_file
from downshift.models import artifact as artifacts
from downshift.models.materialize import materialize
from downshift.runtime.engines.sparse import SparseEngine, SparseProgram
from downshift.runtime.json_cache import JsonCache
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.reference import run as reference
from downshift.runtime.lowering.shrink import shrunk
from downshift.runtime.machine import default_threads

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

    from downshift.models.artifact import Artifact

DIFFERENT_IMAGES = 2


def network_options(parser: ArgumentParser) -> None:
    """What is run: network, masks, tuning and folder."""
    parser.add_argument("network", help="an artifact, or a network to make a random artifact of")
    parser.add_argument("--masks", choices=MASKS, default="uniform", help="of a random artifact")
    parser.add_argument("--tune", type=float, default=3.0, help="seconds for each sub-net that never was")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for artifacts and tilings")


def threads_option(parser: ArgumentParser) -> None:
    """With how many threads each engine computes."""
    parser.add_argument("--threads", type=int, default=default_threads())


def chosen_artifact(chosen: Namespace) -> Artifact:
    """The artifact that `network_options` name; raises `ExperimentError` or `ModelsError`."""
    return artifacts.read(artifact_file(chosen.network, chosen.cache, chosen.masks))


def tuned(artifact: Artifact, threads: int, seconds: float, cache: Path) -> dict[str, SparseProgram]:
    """Every sub-net on our kernels, tuned now or at an earlier call."""
    compiled = SparseEngine(JsonCache(cache)).compile(artifact, artifact.manifest.names, threads=threads)
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
        if subnet.pattern.removes_channels:
            graph = shrunk(graph)
        expected = reference(graph, images).astype(np.float32)
        tasks[subnet.name] = Task(
            graph, subnet.sparsity, np.ascontiguousarray(images[order]), expected[order], threads
        )
    return tasks


def dense_tasks(artifact: Artifact, tasks: Mapping[str, Task]) -> list[Task]:
    """What dense engines are given: the densest sub-net, and those that removed channels make smaller."""
    names = artifact.manifest.names
    smaller = [name for name in names[1:] if artifact.manifest.subnet(name).pattern.removes_channels]
    return [tasks[name] for name in (names[0], *smaller)]
