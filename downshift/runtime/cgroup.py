"""The control groups of this process: how much CPU time they may use, and how much they have used.

cgroup v2 and v1, nested ones and those of containers: https://docs.kernel.org/admin-guide/cgroup-v2.html,
https://docs.kernel.org/scheduler/sched-bwc.html. The files are small and read anew at every question, as
orchestrators change quotas while a process runs.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

V1_OF_THE_MACHINE = "release_agent"  # a file that only the root group of a v1 hierarchy has
V2_OF_A_GROUP = "cgroup.type"  # a file that every v2 group has but the root


@dataclass(frozen=True)
class Cgroups:
    """The groups this process is in, as folders, innermost first; none outside Linux.

    v2: of the unified hierarchy. cpu, cpuacct: of the v1 hierarchies with those controllers. Each goes up to
    where the hierarchy is mounted: a container sees no further, and its own quota is there.
    """

    v2: tuple[Path, ...] = ()
    cpu: tuple[Path, ...] = ()
    cpuacct: tuple[Path, ...] = ()

    def quota(self) -> float | None:
        """CPU cores that may be used, the least of all quotas on the way up; None without any.

        A quota of half a core is 0.5.
        """
        quotas = [*map(_v2_quota, self.v2), *map(_v1_quota, self.cpu)]
        return min((quota for quota in quotas if quota is not None), default=None)

    def usage(self) -> float | None:
        """CPU seconds that this process's own group has used since it was made; only differences mean much.

        None where that cannot be told from what the whole machine used: without groups, and in a root group.
        """
        for folder in self.v2[:1]:
            if (folder / V2_OF_A_GROUP).exists() and (used := _v2_usage(folder)) is not None:
                return used
        for folder in self.cpuacct[:1]:
            if not (folder / V1_OF_THE_MACHINE).exists():
                return _v1_usage(folder)
        return None


def own_cgroups(root: Path = Path("/")) -> Cgroups:
    """The groups of the calling process, by `/proc/self/cgroup` and `/proc/self/mountinfo` below `root`.

    Raises OSError when this process may open no more files.
    """
    own = dict(_memberships(_text(root / "proc/self/cgroup")))
    mounts = list(_mounts(_text(root / "proc/self/mountinfo")))

    def folders(controller: str) -> tuple[Path, ...]:
        for mount in mounts:
            if controller in mount.controllers and controller in own:
                return tuple(root / str(folder).lstrip("/") for folder in mount.upwards(own[controller]))
        return ()

    return Cgroups(folders(""), folders("cpu"), folders("cpuacct"))


@dataclass(frozen=True)
class _Mount:
    """Where a hierarchy is mounted. controllers: of v1; of v2 the empty name alone.

    root: the group that appears at `point`; in a container without a namespace of its own not the topmost.
    """

    controllers: frozenset[str]
    root: PurePosixPath
    point: PurePosixPath

    def upwards(self, group: PurePosixPath) -> Iterator[PurePosixPath]:
        """Folders of the group and of all above it, up to the mount point."""
        # A group elsewhere than below the mounted one has no folder here; the mounted one is above both.
        inside = ".." not in group.parts and group.is_relative_to(self.root)
        folder = self.point / group.relative_to(self.root) if inside else self.point
        while folder != self.point:
            yield folder
            folder = folder.parent
        yield self.point


def _memberships(text: str) -> Iterator[tuple[str, PurePosixPath]]:
    """Controller, and path of the group; from lines such as `4:cpu,cpuacct:/a/b` and, of v2, `0::/a/b`."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, separator, group = rest.partition(":")
        if separator:
            for controller in controllers.split(","):
                yield controller, PurePosixPath(group)


def _mounts(text: str) -> Iterator[_Mount]:
    """The hierarchies among the lines of mountinfo, proc_pid_mountinfo(5)."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        place, kind = before.split(" "), after.split(" ")
        if len(place) < 6 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):  # noqa: PLR2004 - fields
            continue
        controllers = frozenset({""} if kind[0] == "cgroup2" else kind[2].split(","))
        yield _Mount(controllers, PurePosixPath(_plain(place[3])), PurePosixPath(_plain(place[4])))


def _plain(path: str) -> str:
    """A path of mountinfo, where space, tab, newline and backslash are written as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _v2_quota(group: Path) -> float | None:
    fields = _fields(group / "cpu.max")
    if len(fields) != 2 or fields[0] == "max":  # noqa: PLR2004 - quota and period, microseconds
        return None
    return _cores(*fields)


def _v1_quota(group: Path) -> float | None:
    quota, period = _fields(group / "cpu.cfs_quota_us"), _fields(group / "cpu.cfs_period_us")
    return _cores(quota[0], period[0]) if quota and period else None  # -1: no quota


def _cores(quota: str, period: str) -> float | None:
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None


def _v2_usage(group: Path) -> float | None:
    fields = _fields(group / "cpu.stat")
    try:
        return int(fields[fields.index("usage_usec") + 1]) / 1e6
    except (ValueError, IndexError):
        return None


def _v1_usage(group: Path) -> float | None:
    try:
        return int(_fields(group / "cpuacct.usage")[0]) / 1e9
    except (ValueError, IndexError):
        return None


def _fields(path: Path) -> list[str]:
    """The words of a small file; none when it is not there."""
    return _text(path).split()


def _text(path: Path) -> str:
    """The file's text, empty when it cannot be read; raises OSError when this process has no file left."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):  # says nothing about the group
            raise
        return ""
