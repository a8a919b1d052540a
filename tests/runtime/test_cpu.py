from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
import pytest

from downshift.runtime.cpu import CpuMeter, CpuReading, utilization

if TYPE_CHECKING:
    from pathlib import Path


class Times(NamedTuple):
    """CPU seconds of the host, as psutil has them."""

    user: float = 0.0
    nice: float = 0.0
    system: float = 0.0
    idle: float = 0.0
    iowait: float = 0.0


@dataclass
class FakeMachine:
    """A host whose counters a test moves on, with a cgroup of v2 or of v1, or without one."""

    root: Path
    times: Times = field(default_factory=Times)
    seconds: float = 100.0

    def group(self, version: int | None, used: float) -> None:
        """CPU seconds that our own group has used; another one on the same host uses much more."""
        mount = "9 8 0:1 / /sys/fs/cgroup rw - "
        texts = {
            2: {
                "proc/self/cgroup": "0::/ours\n",
                "proc/self/mountinfo": mount + "cgroup2 cgroup2 rw\n",
                "sys/fs/cgroup/ours/cgroup.type": "domain\n",
                "sys/fs/cgroup/ours/cpu.stat": f"usage_usec {int(used * 1e6)}\n",
                "sys/fs/cgroup/theirs/cpu.stat": f"usage_usec {int(used * 1e9)}\n",
            },
            1: {
                "proc/self/cgroup": "2:cpuacct:/ours\n",
                "proc/self/mountinfo": mount + "cgroup cgroup rw,cpuacct\n",
                "sys/fs/cgroup/ours/cpuacct.usage": f"{int(used * 1e9)}\n",
                "sys/fs/cgroup/theirs/cpuacct.usage": f"{int(used * 1e12)}\n",
            },
            None: {},
        }[version]
        for name, text in texts.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)

    def meter(self) -> CpuMeter:
        return CpuMeter(self.root, host=lambda: self.times, now=lambda: self.seconds)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: [0, 1, 2, 3])
    return FakeMachine(tmp_path)


@pytest.mark.parametrize("version", [1, 2])
def test_with_a_cgroup_of_its_own_strangers_do_not_count(host: FakeMachine, version: int) -> None:
    host.group(version, used=50.0)
    meter = host.meter()
    host.group(version, used=52.0)
    host.seconds, host.times = 102.0, Times(user=8.0)
    assert meter.utilization() == 0.25, "2 of the 8 CPU seconds of 4 cores, though the host was full"


def test_usage_is_a_share_of_the_quota_where_there_is_one(host: FakeMachine) -> None:
    host.group(2, used=50.0)
    (host.root / "sys/fs/cgroup/ours/cpu.max").write_text("50000 100000\n")
    meter = host.meter()
    host.group(2, used=50.75)
    host.seconds = 102.0
    assert meter.utilization() == 0.75


def test_without_one_the_host_counts_but_not_what_gives_way(host: FakeMachine) -> None:
    meter = host.meter()
    host.times = Times(user=1.0, system=1.0, nice=5.0, idle=0.5, iowait=0.5)
    assert meter.utilization() == 0.25
    host.times = Times(user=1.0, system=1.0, nice=9.0, idle=0.5, iowait=0.5)
    assert meter.utilization() == 0.0, "processes of low priority are no reason for anything"


def test_counters_that_stand_still_or_run_back_are_no_utilization() -> None:
    at = CpuReading(at=1.0, own=5.0, busy=5.0, total=9.0)
    for before, after in ((at, at), (at, CpuReading(at=2.0, own=4.0, busy=4.0, total=10.0))):
        assert utilization(before, after, 4.0) == 0.0
    assert utilization(at, CpuReading(at=2.0, own=95.0, busy=5.0, total=9.0), 4.0) == 1.0


def test_a_group_that_appears_between_two_readings_does_not_count_as_used_at_once() -> None:
    before, after = (
        CpuReading(at=1.0, own=None, busy=5.0, total=10.0),
        CpuReading(at=2.0, own=900.0, busy=6.0, total=12.0),
    )
    assert utilization(before, after, 4.0) == 0.5


def test_this_machine_can_be_read() -> None:
    meter: Any = CpuMeter()
    assert 0.0 <= meter.utilization() <= 1.0
