"""A `downshift serve` process of one's own, the profile it measured, and requests for it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import orjson

from models import artifact as artifacts
from runtime import profile_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from models.spec import Manifest
    from runtime.profile import Profile


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
    artifact: Path, cache: Path, *, threads: int = 1, cores: set[int] | None = None, **settings: str
) -> Iterator[RealServer]:
    """A ready server on a free port of the loopback interface, ended by SIGTERM afterwards.

    cache: where its profile is kept. cores: those it may use. settings: as in DOWNSHIFT_<NAME>, lower case.
    Raises `NoServer`.
    """
    environment = {
        **os.environ,
        "DOWNSHIFT_CACHE_DIR": str(cache),
        **{f"DOWNSHIFT_{name.upper()}": value for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "downshift", "serve", str(artifact), "--port", "0"]
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or mine)  # inherited
    try:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [*command, "--threads", str(threads)], stdout=subprocess.PIPE, text=True, env=environment
        )
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
            profile = _profile(cache, manifest.sha256, threads, len(cores or mine))
            yield RealServer(url, process.pid, artifact.stem, manifest, profile)
        finally:
            process.terminate()


def _profile(cache: Path, sha256: str, threads: int, cores: int) -> Profile:
    """The latest profile kept there of that artifact with these threads on that many cores."""
    files = sorted(cache.glob("profile-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for profile in (profile_json.loads(path.read_bytes()) for path in files):
        machine = profile.machine
        if (profile.artifact, machine.threads, machine.cores) == (sha256, threads, cores):
            return profile
    raise NoServer(f"it left no profile of {sha256[:12]} in {cache}")
