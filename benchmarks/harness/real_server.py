"""A `downshift serve` process of one's own, the profile it measured, and requests for it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import orjson

from downshift.models import artifact as artifacts
from downshift.runtime.profiling import profile_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from downshift.models.spec import Manifest
    from downshift.runtime.profiling.profile import Profile


class NoServer(Exception):  # noqa: N818 - reads well where it is raised
    """The server ended before it was ready; what it said is on stderr."""


@dataclass(frozen=True)
class RealServer:
    """url: where it listens. process: its id. model: the name it serves. profile: what it decides with."""

    url: str
    process: int
    model: str
    manifest: Manifest
    profile: Profile

    def request(self, seed: int, headers: Mapping[str, str]) -> bytes:
        """A whole HTTP request of the V2 binary extension for one random image, as bytes of pixels."""
        spec = self.manifest.input
        image = np.random.default_rng(seed).integers(0, 256, (1, *spec.shape), np.uint8).tobytes()
        tensor = {
            "name": spec.name,
            "datatype": "UINT8",
            "shape": [1, *spec.shape],
            "parameters": {"binary_data_size": len(image)},
        }
        head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
        lines = [
            f"POST /v2/models/{self.model}/infer HTTP/1.1",
            "Host: downshift",
            "Content-Type: application/octet-stream",
            f"Inference-Header-Content-Length: {len(head)}",
            f"Content-Length: {len(head) + len(image)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + head + image


@contextmanager
def serving(
    artifact: Path,
    cache: Path,
    *,
    cores: set[int] | None = None,
    module: str = "downshift",
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[RealServer]:
    """A ready server with one inference thread on a free port of the loopback interface.

    It is ended by SIGTERM afterwards. cache: where its profile is kept. cores: those it may use. module: what
    is run. environment: of the process, beside ours. Raises `NoServer`.
    """
    variables = {**os.environ, **environment, "DOWNSHIFT_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", module, "serve", str(artifact), "--port", "0", "--threads", "1"]
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or mine)  # inherited
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)  # noqa: S603 - ourselves
    finally:
        os.sched_setaffinity(0, mine)
    with process:
        try:
            if process.stdout is None:
                raise NoServer("it has no output")
            url = next((line.split()[1] for line in process.stdout if line.startswith("Open:")), None)
            if url is None:
                raise NoServer(f"{' '.join(command)} ended with {process.wait()}")
            manifest = artifacts.read(artifact).manifest
            path = kept(cache, manifest.sha256, len(cores or mine))
            profile = profile_json.loads(path.read_bytes())
            yield RealServer(url, process.pid, artifact.stem, manifest, profile)
        finally:
            process.terminate()


@contextmanager
def serving_steadily(artifact: Path, cache: Path, factor: float) -> Iterator[RealServer]:
    """The same on a machine as fast at every moment: so many times what the profile in `cache` says.

    Its own profile, measured first, is kept in a folder of the cache. Raises `NoServer`.
    """
    sha256, cores = artifacts.read(artifact).manifest.sha256, len(os.sched_getaffinity(0))
    steady = {"STEADY_PROFILE": str(kept(cache, sha256, cores)), "STEADY_FACTOR": f"{factor:g}"}
    module, own = "benchmarks.scheduling.steady", cache / f"steady-{factor:g}"
    command = [sys.executable, "-m", module, "profile", str(artifact), "--threads", "1"]
    variables = {**os.environ, **steady, "DOWNSHIFT_CACHE_DIR": str(own)}
    profiling = subprocess.run(command, stdout=subprocess.DEVNULL, env=variables, check=False)  # noqa: S603 - ourselves
    if profiling.returncode:
        raise NoServer(f"{' '.join(command)} ended with {profiling.returncode}")
    with serving(artifact, own, module=module, environment=steady) as server:
        yield server


def kept(cache: Path, sha256: str, cores: int) -> Path:
    """The latest profile there of that artifact, one thread and that many cores; raises `NoServer`."""
    files = sorted(cache.glob("profile-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files:
        profile = profile_json.loads(path.read_bytes())
        if (profile.artifact, profile.machine.threads, profile.machine.cores) == (sha256, 1, cores):
            return path
    remedy = f"DOWNSHIFT_CACHE_DIR={cache} downshift profile --threads 1"
    raise NoServer(f"{cache} has no profile of {sha256[:12]}: measure it with {remedy}")
