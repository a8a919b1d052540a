"""Which cores the worker processes get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from downshift.server.errors import BadSetting
from downshift.server.processes.cores import shares

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Four physical cores with two hyper-threads each, numbered as Linux does: 0 and 4 share one."""
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: list(range(8)))
    for core in range(8):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text("0\n")
        (folder / "core_id").write_text(f"{core % 4}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (1, [{0, 1, 2, 3, 4, 5, 6, 7}]),
        (2, [{0, 4, 1, 5}, {2, 6, 3, 7}]),
        (3, [{0, 4}, {1, 5}, {2, 6, 3, 7}]),
        (4, [{0, 4}, {1, 5}, {2, 6}, {3, 7}]),
        (5, [{0}, {4, 1}, {5}, {2, 6}, {3, 7}]),
    ],
)
def test_each_worker_has_cores_of_its_own_and_hyper_threads_stay_together_where_they_can(
    eight: Path, workers: int, expected: list[set[int]]
) -> None:
    assert shares(workers, eight) == tuple(map(frozenset, expected))


def test_more_workers_than_cores_are_refused(eight: Path) -> None:
    with pytest.raises(BadSetting, match=r"--workers 9: this process may use 8 cores.* give at most 8"):
        shares(9, eight)


def test_with_a_quota_below_the_affinity_no_core_is_ours_alone(eight: Path) -> None:
    group = eight / "sys/fs/cgroup/ours"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("300000 100000\n")
    (eight / "proc/self").mkdir(parents=True)
    (eight / "proc/self/cgroup").write_text("0::/ours\n")
    (eight / "proc/self/mountinfo").write_text("9 8 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    assert shares(3, eight) is None
    with pytest.raises(BadSetting, match="may use 3 cores"):
        shares(4, eight)


def test_without_a_topology_neighbours_stay_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: [2, 3, 6, 9])
    assert shares(2, tmp_path) == (frozenset({2, 3}), frozenset({6, 9}))
