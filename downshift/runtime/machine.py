"""This machine: what a profile depends on besides the artifact, and how many cores may be used."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from downshift.runtime.cgroup import own_cgroups
from downshift.runtime.gpu.monitor import GpuMonitor

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_THREADS = 256  # the kernels start no more


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Key of measured latencies: equal values mean comparable measurements.

    cpu: processor model. cores: logical cores this process may use. gpus: models, in driver order.
    threads: threads each program computes with. versions: engine name -> version.
    """

    cpu: str
    cores: int
    gpus: tuple[str, ...]
    threads: int
    versions: Mapping[str, str]


def this_machine(threads: int, versions: Mapping[str, str]) -> Machine:
    """The machine this process runs on, as it is now."""
    return Machine(
        cpu=_cpu_model(),
        cores=usable_cores(),
        gpus=GpuMonitor().models,
        threads=threads,
        versions=dict(versions),
    )


def available_cores(root: Path = Path("/")) -> float:
    """Logical cores this process may use: its CPU affinity, or less where a cgroup's quota allows less.

    Above 0, and a fraction where the quota is one. root: below which /proc and /sys are looked for.
    """
    allowed = len(psutil.Process().cpu_affinity() or [0])
    quota = own_cgroups(root).quota()
    return float(allowed) if quota is None else min(float(allowed), quota)


def usable_cores(root: Path = Path("/")) -> int:
    """`available_cores` rounded up: how many threads can make progress at once; at least 1."""
    return max(1, math.ceil(available_cores(root)))


def default_threads(executors: int = 1) -> int:
    """Threads of one program: the usable physical cores less one, which serves the network; at least 1.

    Several executors share them. Hyper-threads do not count, as they share the units that compute.
    """
    usable = usable_cores()
    physical = psutil.cpu_count(logical=False) or usable
    return max(1, (min(physical, usable, MOST_THREADS + 1) - 1) // executors)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
