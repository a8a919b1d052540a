from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil
import pytest

from downshift.runtime import machine
from downshift.runtime.machine import (
    MOST_THREADS,
    available_cores,
    default_threads,
    this_machine,
    usable_cores,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_machine_is_the_same_a_moment_later() -> None:
    assert this_machine(2, {"a": "1"}) == this_machine(2, {"a": "1"})


def test_threads_and_versions_are_part_of_it() -> None:
    assert this_machine(1, {"a": "1"}) != this_machine(2, {"a": "1"})
    assert this_machine(1, {"a": "1"}) != this_machine(1, {"a": "2"})


def test_the_processor_has_a_name() -> None:
    assert this_machine(1, {}).cpu


def test_no_more_threads_than_cores_that_may_be_used() -> None:
    assert 1 <= default_threads() <= usable_cores() <= (os.cpu_count() or 1)


def test_no_more_threads_than_a_program_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 512)
    monkeypatch.setattr(machine, "usable_cores", lambda: 512)
    assert default_threads() == MOST_THREADS


@pytest.mark.parametrize(
    ("files", "cores", "threads"),
    [
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/c0ffee\n",
                "proc/self/mountinfo": "9 8 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
                "sys/fs/cgroup/cpu/docker/c0ffee/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/docker/c0ffee/cpu.cfs_period_us": "100000\n",
            },
            0.5,
            1,
        ),
        (
            {
                "proc/self/cgroup": "0::/kubepods/pod/container\n",
                "proc/self/mountinfo": "9 8 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                "sys/fs/cgroup/kubepods/pod/cpu.max": "350000 100000\n",
                "sys/fs/cgroup/kubepods/pod/container/cpu.max": "max 100000\n",
            },
            3.5,
            4,
        ),
        ({}, 64.0, 64),
    ],
    ids=["half a core of v1", "a pod's quota above its container", "no quota"],
)
def test_on_a_large_node_as_many_cores_as_the_quota_allows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], cores: float, threads: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: list(range(64)))
    assert available_cores(tmp_path) == cores
    assert usable_cores(tmp_path) == threads


def test_affinity_below_the_quota_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "proc/self/mountinfo").write_text("9 8 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("800000 100000\n")
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: [3, 4])
    assert usable_cores(tmp_path) == 2
