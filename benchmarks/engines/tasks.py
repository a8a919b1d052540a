"""What engines are given: every sub-net as a task with its right logits, and as a program of our kernels."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from benchmarks.engines.contenders import Task
from benchmarks.harness.experiment import CACHE
from benchmarks.harness.networks import MASKS, artifact_file
from downshift.models import artifact as artifacts
from downshift.models.materialize import materialize
from downshift.models.spec import Point
from downshift.runtime.background import finish
from downshift.runtime.engines import sparse, sparse_int8
from downshift.runtime.engines.engine import Tunable
from downshift.runtime.engines.exported import qdq_model
from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.json_cache import JsonCache
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.reference import run as reference
from downshift.runtime.lowering.shrink import shrunk
from downshift.runtime.machine import default_threads
from downshift.runtime.profiling.calibration import LabelledImages, calibrate

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

    from downshift.models.artifact import Artifact
    from downshift.runtime.engines.sparse import SparseProgram
    from downshift.runtime.engines.sparse_int8 import SparseInt8Program

    Compiled = SparseProgram | SparseInt8Program

DIFFERENT_IMAGES = 2
CALIBRATION_IMAGES = 8


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


def quantized(artifact: Artifact, folder: Path) -> Artifact:
    """The artifact with int8 ranges: its own, or those of a few random images, found at the first call.

    Made-up ranges say nothing about accuracy, which stays unknown; speed does not depend on them.
    """
    manifest = artifact.manifest
    if any(subnet.int8 is not None or subnet.pattern.removes_channels for subnet in manifest.subnets):
        return artifact
    path = folder / f"{manifest.network.replace('/', '-')}-{manifest.sha256[:16]}-int8.onnx"
    if not path.exists():
        noise = np.random.default_rng(0)
        spec = manifest.input
        shape = (CALIBRATION_IMAGES, spec.height, spec.width, spec.channels)
        images = noise.integers(0, 256, shape, np.uint8)
        few = LabelledImages(images[:1], np.zeros(1, np.int64))
        found = calibrate(artifact, images, few)
        unknown = tuple(
            replace(subnet, int8=subnet.int8 and replace(subnet.int8, accuracy=None))
            for subnet in found.manifest.subnets
        )
        artifacts.write(path, replace(found, manifest=replace(found.manifest, subnets=unknown)))
    return artifacts.read(path)


def tuned(artifact: Artifact, threads: int, seconds: float, cache: Path) -> dict[str, Compiled]:
    """Every point on our kernels, tuned now or at an earlier call; one that cannot run in int8 is left out.

    Raises `UnsupportedModel` for a sub-net that does not run in float32.
    """
    programs: dict[str, Compiled] = {}
    for engine in (sparse.cpu(JsonCache(cache)), sparse_int8.cpu(JsonCache(cache))):
        names = [point.name for point in artifact.manifest.points if point.precision == engine.precision]
        for name, program in engine.compile(artifact, names, threads=threads).items():
            if not isinstance(program, UnsupportedModel):
                programs[name] = program
            elif engine.precision == "fp32":
                raise program
            else:
                print(f"not in the race: {program}", file=sys.stderr)
    for program in programs.values():
        if seconds and isinstance(program, Tunable) and not program.tuned:
            finish(program.tuning(seconds))
    return programs


def tasks_of(artifact: Artifact, batch: int, threads: int) -> dict[str, Task]:
    """What each point has to compute, densest first.

    Logits in float32 come from the double-precision oracle, those in int8 from onnxruntime on the QDQ model.
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
        task = Task(graph, subnet.sparsity, np.ascontiguousarray(images[order]), expected[order], threads)
        tasks[subnet.name] = task
        if subnet.int8 is not None:
            model = qdq_model(artifact, subnet.name).SerializeToString()
            session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
            [logits] = session.run(None, {"input": images})
            tasks[Point(subnet, "int8").name] = replace(task, expected=logits[order], quantized=model)
    return tasks


def dense_tasks(artifact: Artifact, tasks: Mapping[str, Task]) -> list[Task]:
    """What dense engines are given: the densest sub-net, and those that removed channels make smaller."""
    densest, *others = artifact.manifest.subnets
    subnets = (densest, *(subnet for subnet in others if subnet.pattern.removes_channels))
    return [tasks[point.name] for point in artifact.manifest.points if point.subnet in subnets]
