from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from downshift.runtime.engines.programs import Programs
from downshift.runtime.errors import DeviceFault, OutOfDeviceMemory, ProfileError
from downshift.runtime.gpu.busy import BusyMeter
from downshift.runtime.gpu.driver import Device
from downshift.runtime.profiling.profile import Profile
from downshift.runtime.scheduling.circuit_breaker import FAILURES
from downshift.runtime.scheduling.failover import Failover
from tests.runtime.doubles import MACHINE, FakeClock, FakeProgram, batch, measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

LOST = DeviceFault("cuda", "cuda:0", "unknown error")
FULL = OutOfDeviceMemory("cuda", "cuda:0", "out of memory")


@dataclass
class OnGpu(FakeProgram):
    device: Device = field(default_factory=lambda: Device(0, "GPU-0", "a GPU"))
    busy: BusyMeter = field(default_factory=BusyMeter)


def scene(*engines: str) -> Scene:
    """Sub-nets s50 and s90 on these engines, faster from each to the next; `cpu` needs no GPU."""
    made = {name: (FakeProgram if name == "cpu" else OnGpu)(FakeClock()) for name in engines}
    programs = Programs({"s50": made, "s90": made}, {}, (), 1)
    rows = [
        measurement(subnet, size, size * 0.1 / (index + 1), engine=name, chosen=index == len(engines) - 1)
        for subnet in ("s50", "s90")
        for size in (1, 2)
        for index, name in enumerate(engines)
    ]
    return Scene(Profile("", MACHINE, tuple(rows)), programs)


class Scene:
    """A failover, and what it has done."""

    def __init__(self, profile: Profile, programs: Programs) -> None:
        self.adopted: list[Profile] = []
        self.programs: list[Programs] = []
        self.retired: list[tuple[str, str]] = []
        self.over = False
        self.profile = profile
        self.failover = Failover(
            profile, (programs, programs), self._adopt, lambda *pair: self.retired.append(pair), self._end
        )

    def _adopt(self, profile: Profile, programs: Sequence[Programs]) -> None:
        self.adopted.append(profile)
        self.programs = list(programs)

    def _end(self) -> None:
        self.over = True

    def run(self, subnet: str, engine: str, error: Exception | None, times: int = FAILURES) -> None:
        """The scheduler reports as many batches."""
        for _ in range(times):
            ran = batch(subnet, engine, "accurate", requests=1, examples=1, expected_seconds=0.1)
            self.failover.finished(ran, 0.1, error)


def test_a_lost_device_takes_all_its_programs_along_and_the_next_engine_serves() -> None:
    found = scene("cpu", "cuda")
    found.run("s50", "cuda", LOST, FAILURES - 1)
    assert found.adopted == []
    found.run("s50", "cuda", LOST, 1)
    (profile,) = found.adopted
    assert {(m.subnet, m.engine, m.chosen) for m in profile.measurements} == {
        ("s50", "cpu", True),
        ("s90", "cpu", True),
    }
    assert found.retired == [("s50", "cuda"), ("s90", "cuda")]
    assert [each.pairs for each in found.programs] == [{("s50", "cpu"), ("s90", "cpu")}] * 2, "every executor"


def test_for_want_of_memory_only_the_program_goes_that_lacked_it() -> None:
    found = scene("cpu", "cuda")
    found.run("s50", "cuda", FULL)
    assert found.retired == [("s50", "cuda")]
    assert found.adopted[0]["s50"].engine(1) == "cpu"
    assert found.adopted[0]["s90"].engine(1) == "cuda"


def test_other_devices_are_not_touched() -> None:
    found = scene("cpu", "cuda")
    elsewhere = OnGpu(FakeClock(), device=Device(1, "GPU-1", "another"))
    programs = Programs({"s50": {"cuda": OnGpu(FakeClock()), "other": elsewhere}}, {}, (), 1)
    rows = tuple(measurement("s50", 1, 0.1, engine=name, chosen=name == "cuda") for name in ("cuda", "other"))
    found = Scene(Profile("", MACHINE, rows), programs)
    found.run("s50", "cuda", LOST)
    assert found.retired == [("s50", "cuda")]
    assert found.adopted[0]["s50"].engine(1) == "other"


@pytest.mark.parametrize("error", [ValueError("of the request's own"), None])
def test_whatever_is_no_device_failure_changes_nothing(error: Exception | None) -> None:
    found = scene("cpu", "cuda")
    found.run("s50", "cuda", error, 20)
    assert (found.adopted, found.retired, found.over) == ([], [], False)


def test_when_no_program_is_left_it_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    found = scene("cuda")
    found.run("s50", "cuda", LOST)
    assert found.over
    assert found.adopted == []
    assert "out of service from now on: s50 on cuda, s90 on cuda" in caplog.text


def test_batches_that_were_under_way_when_it_opened_are_no_news() -> None:
    found = scene("cpu", "cuda")
    found.run("s50", "cuda", LOST, 20)
    assert len(found.adopted) == 1


def test_background_tuning_does_not_bring_back_what_is_dead() -> None:
    found = scene("cpu", "cuda")
    fresh = scene("cpu", "cuda")
    found.run("s90", "cuda", FULL)
    profile, programs = found.failover.replaced(fresh.profile, [fresh.failover._programs[0]])
    assert ("s90", "cuda") not in programs[0].pairs
    assert profile["s90"].engine(1) == "cpu"
    assert profile["s50"].engine(1) == "cuda"


def test_a_profile_of_nothing_is_none() -> None:
    with pytest.raises(ProfileError, match="no program is left"):
        scene("cuda").profile.only(set())


def test_sizes_that_some_sub_net_was_not_measured_at_are_left_out() -> None:
    rows = (
        *(measurement("s50", size, 0.1 * size, engine="cuda") for size in (1, 2, 4)),
        *(measurement("s90", size, 0.1 * size, engine="cpu") for size in (1, 2)),
        measurement("s50", 1, 0.5, engine="cpu", chosen=False),
    )
    profile = Profile("", MACHINE, rows)
    assert profile.only({("s50", "cuda"), ("s90", "cpu")}).batch_sizes == (1, 2)
    assert profile.only({("s50", "cpu"), ("s90", "cpu")}).batch_sizes == (1,)
