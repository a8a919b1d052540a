"""Which cores each worker process computes on: shares of those that this process may use."""

from __future__ import annotations

from itertools import chain, groupby, pairwise
from pathlib import Path

import psutil

from downshift.runtime.machine import available_cores, usable_cores
from downshift.server.errors import BadSetting


def shares(workers: int, root: Path = Path("/")) -> tuple[frozenset[int], ...] | None:
    """Disjoint sets of neighbouring logical cores, one for each worker.

    Hyper-threads of one physical core stay together unless there are more workers than physical cores. None
    where a cgroup's quota allows less than the affinity: such a process is no owner of certain cores, and
    others with a quota would choose the same. root: below which /proc and /sys are looked for. Raises
    `BadSetting` for more workers than cores.
    """
    usable = usable_cores(root)
    if workers > usable:
        raise BadSetting(
            f"--workers {workers}: this process may use {usable} cores, and each worker needs one: "
            f"give at most {usable}"
        )
    places = {core: _place(core, root) for core in psutil.Process().cpu_affinity() or [0]}
    if available_cores(root) < len(places):
        return None
    cores = sorted(places, key=lambda core: (places[core], core))
    physical = [list(same) for _, same in groupby(cores, key=places.__getitem__)]
    units = physical if workers <= len(physical) else [[core] for core in cores]
    ends = [len(units) * index // workers for index in range(workers + 1)]
    return tuple(frozenset(chain(*units[begin:end])) for begin, end in pairwise(ends))


def _place(core: int, root: Path) -> tuple[int, int]:
    """Package and physical core; each core its own where the machine does not tell."""
    topology = root / f"sys/devices/system/cpu/cpu{core}/topology"
    try:
        return int((topology / "physical_package_id").read_text()), int((topology / "core_id").read_text())
    except (OSError, ValueError):
        return 0, core
