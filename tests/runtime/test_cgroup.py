"""Quotas and usage of control groups, read from made-up file systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from downshift.runtime.cgroup import Cgroups, own_cgroups

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "30 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
)


def machine(tmp_path: Path, cgroup: str, mountinfo: str, files: Mapping[str, str]) -> Cgroups:
    """The groups of a process on a machine with these files, paths below /sys/fs/cgroup."""
    written = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mountinfo}
    written |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in written.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return own_cgroups(tmp_path)


def test_a_quota_of_v2_is_read_from_the_group_of_the_process(tmp_path: Path) -> None:
    files = {"a/b/cpu.max": "150000 100000\n", "other/cpu.max": "1000 100000\n"}
    assert machine(tmp_path, "0::/a/b\n", V2, files).quota() == 1.5


def test_the_least_quota_on_the_way_up_counts_whichever_group_sets_it(tmp_path: Path) -> None:
    files = {
        "a/cpu.max": "50000 100000\n",
        "a/b/cpu.max": "max 100000\n",
        "a/b/c/cpu.max": "400000 100000\n",
    }
    assert machine(tmp_path, "0::/a/b/c\n", V2, files).quota() == 0.5


def test_max_is_no_quota(tmp_path: Path) -> None:
    assert machine(tmp_path, "0::/a\n", V2, {"a/cpu.max": "max 100000\n"}).quota() is None


def test_a_container_with_its_own_namespace_finds_its_quota_at_the_mount_point(tmp_path: Path) -> None:
    assert machine(tmp_path, "0::/\n", V2, {"cpu.max": "200000 100000\n"}).quota() == 2.0


def test_a_quota_of_v1_is_that_of_the_cpu_controller(tmp_path: Path) -> None:
    group = "cpu,cpuacct/docker/c0ffee"
    files = {f"{group}/cpu.cfs_quota_us": "50000\n", f"{group}/cpu.cfs_period_us": "100000\n"}
    groups = machine(tmp_path, "7:memory:/m\n4:cpu,cpuacct:/docker/c0ffee\n0::/\n", V1, files)
    assert groups.quota() == 0.5


def test_a_nested_quota_of_v1_counts_too(tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/a/cpu.cfs_quota_us": "300000\n",
        "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n",
    }
    assert machine(tmp_path, "4:cpu,cpuacct:/a/b\n", V1, files).quota() == 3.0


def test_a_container_without_a_namespace_sees_its_group_mounted_where_the_root_would_be(
    tmp_path: Path,
) -> None:
    mount = "32 31 0:29 /docker/c0ffee /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n"
    files = {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert machine(tmp_path, "4:cpu,cpuacct:/docker/c0ffee\n", mount, files).quota() == 2.5
    nested = files | {"cpu/app/cpu.cfs_quota_us": "70000\n", "cpu/app/cpu.cfs_period_us": "100000\n"}
    assert machine(tmp_path, "4:cpu,cpuacct:/docker/c0ffee/app\n", mount, nested).quota() == 0.7


@pytest.mark.parametrize("group", ["/elsewhere/c0ffee", "/../sibling"])
def test_a_group_that_is_not_below_the_mounted_one_has_the_quota_of_that_one(
    tmp_path: Path, group: str
) -> None:
    mount = "32 31 0:29 /docker /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    assert machine(tmp_path, f"0::{group}\n", mount, {"cpu.max": "100000 50000\n"}).quota() == 2.0


def test_where_both_versions_are_mounted_quotas_of_both_count(tmp_path: Path) -> None:
    both = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    files = {
        "cpu,cpuacct/a/cpu.cfs_quota_us": "150000\n",
        "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
        "unified/b/cgroup.type": "domain\n",
    }
    assert machine(tmp_path, "4:cpu,cpuacct:/a\n0::/b\n", both, files).quota() == 1.5


def test_a_mount_point_may_hold_spaces(tmp_path: Path) -> None:
    mount = "32 31 0:29 / /sys/fs/cgroup/a\\040b rw - cgroup2 cgroup2 rw\n"
    assert machine(tmp_path, "0::/\n", mount, {"a b/cpu.max": "30000 100000\n"}).quota() == 0.3


@pytest.mark.parametrize("text", ["", "max", "ten 100000", "100000 0", "-5 100000", "0 100000", "\0\xff"])
def test_what_is_no_quota_is_none(tmp_path: Path, text: str) -> None:
    assert machine(tmp_path, "0::/\n", V2, {"cpu.max": text}).quota() is None


@pytest.mark.parametrize("text", ["", "\n", "nonsense\n", "1:\n", "a:b\n", "1 2 - cgroup2\n"])
def test_nonsense_is_no_group(tmp_path: Path, text: str) -> None:
    assert machine(tmp_path, text, text, {}) == Cgroups()


def test_without_proc_there_are_no_groups(tmp_path: Path) -> None:
    assert own_cgroups(tmp_path) == Cgroups()
    assert Cgroups().quota() is None
    assert Cgroups().usage() is None


def test_usage_of_v2_is_that_of_the_own_group(tmp_path: Path) -> None:
    files = {
        "cpu.stat": "usage_usec 900000000\n",
        "a/cgroup.type": "domain\n",
        "a/cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
    }
    assert machine(tmp_path, "0::/a\n", V2, files).usage() == 2.5


def test_usage_of_v1_is_that_of_cpuacct(tmp_path: Path) -> None:
    files = {"cpu,cpuacct/release_agent": "", "cpu,cpuacct/a/cpuacct.usage": "1500000000\n"}
    assert machine(tmp_path, "4:cpu,cpuacct:/a\n", V1, files).usage() == 1.5


def test_a_root_group_is_the_machine_and_no_group_of_ours(tmp_path: Path) -> None:
    files = {
        "unified/cpu.stat": "usage_usec 900000000\n",
        "cpu,cpuacct/release_agent": "",
        "cpu,cpuacct/cpuacct.usage": "1500000000\n",
    }
    both = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    assert machine(tmp_path, "4:cpu,cpuacct:/\n0::/\n", both, files).usage() is None


def test_the_groups_of_this_very_process_can_be_read() -> None:
    groups = own_cgroups()
    assert groups.quota() is None or groups.quota() > 0  # type: ignore[operator]
    assert groups.usage() is None or groups.usage() >= 0  # type: ignore[operator]
