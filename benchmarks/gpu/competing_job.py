"""A job that keeps a GPU busy, and what the load policy does beside it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import psutil

from downshift.runtime.deployment import Deployment
from downshift.runtime.engines.programs import Engines, compile_artifact
from downshift.runtime.preparation import Prepared
from downshift.runtime.profiling.profiler import Effort, measure
from downshift.runtime.request import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from downshift.models.artifact import Artifact
    from downshift.runtime.engines.device_engine import DeviceEngine

RATE = 20.0  # requests a second: far less than a GPU can do, so that load comes from the job
# It ends with its parent at the latest.
BURN = """
import os, sys, torch
device, parent = sys.argv[1], int(sys.argv[2])
x = torch.randn(4096 if device != "cpu" else 64, 4096 if device != "cpu" else 64, device=device)
while os.getppid() == parent:
    for _ in range(20): y = x @ x
    if device != "cpu": torch.cuda.synchronize()
"""


@contextmanager
def competing(device: str) -> Iterator[None]:
    """Within, another process multiplies matrices on the device without a pause."""
    command = [sys.executable, "-c", BURN, device, str(psutil.Process().pid)]
    process = subprocess.Popen(command)  # noqa: S603 - ourselves
    try:
        yield
    finally:
        process.kill()
        process.wait()


def served_beside_a_job(
    artifact: Artifact, engine: DeviceEngine, device: str, seconds: float
) -> dict[str, dict[str, int]]:
    """Answers by sub-net, without a budget: alone, beside the job, and alone again; so many seconds each."""
    programs = compile_artifact(artifact, Engines((engine,)), threads=1)
    sizes = tuple(size for size in engine.sizes if size <= 8)  # noqa: PLR2004 - nobody asks for more here
    effort = Effort(batch_sizes=sizes, seconds=seconds / 4, tune_seconds=0.0)
    prepared = Prepared(artifact.manifest, programs, measure(artifact.manifest, programs, effort))
    with Deployment(prepared) as deployment:
        alone = _answers(deployment, seconds)
        with competing(device):
            beside = _answers(deployment, seconds)
        again = _answers(deployment, seconds)
    return {"alone": alone, "beside the job": beside, "alone again": again}


def _answers(deployment: Deployment, seconds: float) -> dict[str, int]:
    inputs = np.zeros((1, *deployment.manifest.input.shape), np.float32)
    found: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found[deployment.submit(Request(inputs)).result().point.name] += 1
        time.sleep(1.0 / RATE)
    return dict(found)
