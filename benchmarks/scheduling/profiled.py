"""The real server with the profile that it decides with, and a client that knows its answers."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness.errors import NotServing
from benchmarks.harness.experiment import CACHE
from benchmarks.harness.server import NOTHING, downshift
from benchmarks.harness.settings import prepare
from downshift.runtime.profiling import profile_json
from downshift.runtime.simulator.comparison import capacity

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Mapping

    from benchmarks.harness.client import Client
    from benchmarks.harness.server import Server
    from benchmarks.harness.settings import Setting
    from downshift.runtime.profiling.profile import Profile

STEADY = "benchmarks.scheduling.steady"


@dataclass(frozen=True)
class Profiled:
    """A server with one inference thread, what it serves, and its profile."""

    server: Server
    setting: Setting
    profile: Profile

    @property
    def capacity(self) -> float:
        """Requests a second that the densest sub-net can bear."""
        return capacity(self.profile)

    def client(self, budget: float | None = None, **headers: str) -> Client:
        """Sends images as pixels; budget: seconds of each request. headers: with _ for -."""
        granted = {} if budget is None else {"X_Latency_Budget_Ms": f"{budget * 1e3:g}"}
        return self.setting.v2(pixels=True, **granted, **headers)

    def about(self) -> dict[str, Any]:
        """What a report says of network and profile."""
        manifest, subnets = self.setting.artifact.manifest, self.profile.subnets
        return {
            "network": f"{manifest.network}, input {'x'.join(map(str, manifest.input.shape))}",
            "synthetic": manifest.provenance.synthetic,
            "engines": dict(self.profile.machine.versions),
            "profile p50/p99 ms, batch 1": {s.name: [1e3 * s.p50[1], 1e3 * s.p99[1]] for s in subnets},
            "accuracies": {s.name: s.accuracy for s in subnets},
            "capacity of the densest, 1/s": self.capacity,
        }


def network_options(parser: ArgumentParser) -> None:
    """What these experiments serve."""
    parser.add_argument(
        "network", help="an artifact, or a network to make a random artifact of, such as resnet50-128"
    )
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for artifacts and profiles")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals")


@contextmanager
def profiled(
    network: str, cache: Path, *, cores: set[int] | None = None, steady: float | None = None
) -> Iterator[Profiled]:
    """The server, ready, with a profile that was measured before it; cores: those it may use.

    steady: every batch takes so many times its profiled p50 (see `benchmarks.scheduling.steady`). Raises
    `NotServing`.
    """
    setting = prepare(network, cache)
    folder, module, settings = setting.folder, "downshift", NOTHING
    path = _profile(setting, folder, module, settings, cores)
    if steady is not None:
        module, settings = STEADY, {"STEADY_PROFILE": str(path), "STEADY_FACTOR": f"{steady:g}"}
        folder /= f"steady-{steady:g}"
        path = _profile(setting, folder, module, settings, cores)
    with downshift(setting.path, folder, settings, cores=cores, module=module) as server:
        yield Profiled(server, setting, profile_json.loads(path.read_bytes()))


def _profile(
    setting: Setting, folder: Path, module: str, settings: Mapping[str, str], cores: set[int] | None
) -> Path:
    """Where the profile is that `downshift profile` measured on those cores, now or at an earlier call."""
    command = [sys.executable, "-m", module, "profile", str(setting.path), "--threads", "1"]
    variables = {**os.environ, **settings, "DOWNSHIFT_CACHE_DIR": str(folder)}
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or mine)  # inherited
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, env=variables, check=False)  # noqa: S603 - ourselves
    finally:
        os.sched_setaffinity(0, mine)
    if done.returncode:
        raise NotServing(f"{' '.join(command)} ended with {done.returncode}")
    return _kept(folder, setting, len(cores or mine))


def _kept(folder: Path, setting: Setting, cores: int) -> Path:
    """The latest profile there of the artifact, one thread and that many cores; raises `NotServing`."""
    wanted = setting.artifact.manifest.sha256, 1, cores
    for path in sorted(folder.glob("profile-*.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        profile = profile_json.loads(path.read_bytes())
        if (profile.artifact, profile.machine.threads, profile.machine.cores) == wanted:
            return path
    raise NotServing(f"{folder} has no profile of {wanted[0][:12]} on one thread and {cores} cores")
