"""What a profile depends on besides the artifact: processor, accelerators, versions, threads."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pynvml

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_THREADS = 256  # the kernels start no more


@dataclass(frozen=True)
class Machine:
    """Two equal values promise comparable latencies.

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
    return Machine(_cpu_model(), usable_cores(), _gpu_models(), threads, dict(versions))


def usable_cores() -> int:
    """Logical cores this process may use: its affinity, cut to the container's CPU quota."""
    return max(1, min(len(psutil.Process().cpu_affinity() or [0]), _cgroup_quota()))


def default_threads() -> int:
    """Threads for one program: the physical cores, but for one that is left to whoever brings the requests.

    Hyper-threads do not count, as they share the units that compute.
    """
    physical = psutil.cpu_count(logical=False) or usable_cores()
    return max(1, min(physical, usable_cores(), MOST_THREADS + 1) - 1)


def _cgroup_quota() -> int:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file outside Linux containers; "max" means no quota
        return os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpu_models() -> tuple[str, ...]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver: a machine without GPU
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return tuple(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles)
    finally:
        pynvml.nvmlShutdown()
