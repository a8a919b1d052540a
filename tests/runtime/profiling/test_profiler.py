from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

from downshift.runtime.engines.programs import Programs
from downshift.runtime.errors import ProfileError
from downshift.runtime.profiling.profiler import WARMUP_RUNS, Effort, measure
from tests.runtime.doubles import FakeClock, FakeProgram, manifest, profile

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile

NAMES = ("s50", "s90", "s98")


@dataclass
class Scripted:
    """A program whose n-th run takes the n-th of these times, the last of them for ever after."""

    clock: FakeClock
    engine: str
    times: list[float]
    trace: list[str] = field(default_factory=list)

    def run(
        self, batch: np.ndarray[tuple[int, ...], np.dtype[np.float32]], /
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        self.trace.append(self.engine)
        self.clock.advance(self.times.pop(0) if len(self.times) > 1 else self.times[0])
        return np.zeros((len(batch), 2), np.float32)


def test_each_quantile_is_that_of_the_runs_after_warming_up() -> None:
    clock = FakeClock()
    cold = [9.0] * WARMUP_RUNS
    warm = [float(n) for n in range(1, 102)]
    program = Scripted(clock, "a", [*cold, *warm])
    one = manifest({"s50": 0.9})
    measured = measure(
        one,
        Programs({"s50": {"a": program}}, {"a": "1"}, (), 1),
        Effort(batch_sizes=(1,), seconds=1.0, min_runs=101, max_runs=101),
        clock=clock,
    )
    (row,) = measured.measurements
    assert (row.p50, row.p95, row.p99) == (51.0, 96.0, 100.0)
    assert (row.subnet, row.sparsity, row.accuracy, row.engine, row.batch_size) == ("s50", 0.5, 0.9, "a", 1)


def test_engines_alternate_and_the_measured_faster_one_is_chosen() -> None:
    clock = FakeClock()
    trace: list[str] = []
    a, b = Scripted(clock, "a", [0.002], trace), Scripted(clock, "b", [0.001], trace)
    programs = Programs({"s50": {"a": a, "b": b}}, {"a": "1", "b": "1"}, (), 1)
    measured = measure(
        manifest({"s50": 0.9}),
        programs,
        Effort(batch_sizes=(1,), seconds=0.01, min_runs=3, max_runs=5),
        clock=clock,
    )
    assert trace[2 * WARMUP_RUNS :][:6] == ["a", "b"] * 3
    assert {row.engine: row.chosen for row in measured.measurements} == {"a": False, "b": True}
    assert measured["s50"].engine(1) == "b"


def test_every_sub_net_engine_and_batch_size_is_measured() -> None:
    clock = FakeClock()
    programs = Programs({name: {"fake": FakeProgram(clock, 0.001)} for name in NAMES}, {"fake": "1"}, (), 1)
    measured = measure(
        manifest(), programs, Effort(batch_sizes=(1, 2), seconds=0.1, min_runs=2, max_runs=4), clock=clock
    )
    assert [(row.subnet, row.batch_size) for row in measured.measurements] == [
        (name, size) for name in NAMES for size in (1, 2)
    ]
    assert measured["s90"].typical(2) == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("effort", "runs"),
    [
        (Effort(batch_sizes=(1,), seconds=1.0, min_runs=2, max_runs=50), 10),  # time is up
        (Effort(batch_sizes=(1,), seconds=1.0, min_runs=20, max_runs=50), 20),  # time is up, but too few runs
        (Effort(batch_sizes=(1,), seconds=1.0, min_runs=2, max_runs=5), 5),  # runs enough before time is up
    ],
)
def test_measuring_ends_with_its_time_or_its_runs(effort: Effort, runs: int) -> None:
    clock = FakeClock(0.0)
    program = FakeProgram(clock, 0.125 * 0.85)
    measure(manifest({"s50": 0.9}), Programs({"s50": {"fake": program}}, {}, (), 1), effort, clock=clock)
    assert len(program.batches) == WARMUP_RUNS + runs


def test_progress_rises_to_one_in_at_most_a_hundred_steps() -> None:
    clock = FakeClock()
    heard: list[float] = []
    measure(
        manifest({"s50": 0.9}),
        Programs({"s50": {"fake": FakeProgram(clock, 0.001)}}, {}, (), 1),
        Effort(batch_sizes=(1,), seconds=1.0, min_runs=10, max_runs=1000),
        progress=lambda fraction, text: heard.append(fraction),
        clock=clock,
    )
    assert heard == sorted(heard)
    assert heard[0] == 0.0
    assert heard[-1] == 1.0
    assert 50 < len(heard) <= 102


@pytest.mark.parametrize("sizes", [(), (2, 4), (1, 4, 2), (1, 1)])
def test_batch_sizes_start_at_one_and_ascend(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ProfileError, match="start at 1 and ascend"):
        Effort(batch_sizes=sizes)


def test_runs_cannot_be_fewer_than_one() -> None:
    with pytest.raises(ProfileError, match="runs from 0 to 400"):
        Effort(min_runs=0)


def sizes_of(measured: Profile, engine: str) -> list[int]:
    return [row.batch_size for row in measured.measurements if row.engine == engine]


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [
        (0.001, (1, 2, 4, 8, 16, 32)),
        (0.01, (1, 2, 4, 8, 16)),  # 32 would take 0.32 s
        (0.02, (1, 2, 4, 8)),
        (1.0, (1, 2, 4, 8)),  # long as they are
    ],
)
def test_larger_batches_are_run_only_where_the_slowest_sub_net_is_quick_enough(
    seconds: float, sizes: tuple[int, ...]
) -> None:
    clock = FakeClock()
    slow, quick = FakeProgram(clock, seconds), FakeProgram(clock, seconds / 100)
    programs = Programs({"s50": {"fake": slow}, "s90": {"fake": quick}}, {"fake": "1"}, (), 1)
    effort = Effort(seconds=1.0, longest=0.2, min_runs=2, max_runs=4)
    measured = measure(manifest({"s50": 0.9, "s90": 0.8}), programs, effort, clock=clock)
    assert measured.batch_sizes == sizes
    assert {len(batch) for batch in slow.batches} == {len(batch) for batch in quick.batches} == set(sizes)
    assert measured["s90"].max_batch == sizes[-1]
    assert effort.met_by(measured)
    assert [row.subnet for row in measured.measurements] == ["s50"] * len(sizes) + ["s90"] * len(sizes)


def test_an_engine_without_a_chance_is_not_run_on_larger_batches() -> None:
    clock = FakeClock()
    engines = {"quick": 0.001, "near": 0.0019, "hopeless": 0.0021}
    by_engine = {name: FakeProgram(clock, seconds) for name, seconds in engines.items()}
    programs = Programs({"s50": by_engine}, {}, (), 1)
    effort = Effort(batch_sizes=(1, 8, 16, 32), seconds=1.0, min_runs=2, max_runs=4)
    measured = measure(manifest({"s50": 0.9}), programs, effort, clock=clock)
    assert sizes_of(measured, "quick") == sizes_of(measured, "near") == [1, 8, 16, 32]
    assert sizes_of(measured, "hopeless") == [1, 8]
    assert measured["s50"].engine(32) == "quick"


def test_each_larger_size_has_a_quarter_of_the_time_for_all_the_usual_ones() -> None:
    clock = FakeClock(0.0)
    program = FakeProgram(clock, 0.001)
    one = Programs({"s50": {"fake": program}}, {}, (), 1)
    measure(
        manifest({"s50": 0.9}), one, Effort(batch_sizes=(1, 16), seconds=1.0, max_runs=10_000), clock=clock
    )
    runs = [len(batch) for batch in program.batches]
    assert (runs.count(1), runs.count(16)) == pytest.approx((1000, 16), abs=WARMUP_RUNS + 1)


def test_a_rough_measurement_leaves_larger_batches_for_later_and_requests_wait_for_short_ones() -> None:
    effort = Effort()
    assert effort.rough.batch_sizes == (1, 2, 4, 8)
    assert effort.between_requests.batch_sizes == effort.batch_sizes
    assert effort.between_requests.longest < effort.longest


def test_a_profile_serves_an_effort_when_it_has_all_sizes_that_are_short_enough() -> None:
    effort = Effort(longest=0.2)
    seconds = {"s50": 0.001, "s90": 0.0001}
    assert effort.met_by(profile(seconds, batch_sizes=effort.batch_sizes))
    assert not effort.met_by(profile(seconds, batch_sizes=(1, 2, 4, 8)))  # 16 would take 16 ms
    assert effort.met_by(profile({"s50": 0.02}, batch_sizes=(1, 2, 4, 8)))  # 0.32 s
    assert effort.met_by(profile({"s50": 0.01}, batch_sizes=(1, 2, 4, 8)))  # 0.16 s, near the limit
    assert not effort.met_by(profile({"s50": 0.02}, batch_sizes=(1, 2, 4)))
    assert not effort.met_by(profile({"s50": 0.02}, batch_sizes=(1, 2, 4, 8, 12)))
