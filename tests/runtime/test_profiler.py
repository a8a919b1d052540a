from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from runtime.errors import ProfileError
from runtime.profiler import WARMUP_RUNS, Effort, measure
from runtime.programs import Programs
from tests.runtime.doubles import FakeClock, FakeProgram, manifest

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
        one, Programs({"s50": {"a": program}}, {"a": "1"}, (), 1), Effort((1,), 1.0, 101, 101), clock=clock
    )
    (row,) = measured.measurements
    assert (row.p50, row.p95, row.p99) == (51.0, 96.0, 100.0)
    assert (row.subnet, row.sparsity, row.accuracy, row.engine, row.batch_size) == ("s50", 0.5, 0.9, "a", 1)


def test_engines_alternate_and_the_measured_faster_one_is_chosen() -> None:
    clock = FakeClock()
    trace: list[str] = []
    a, b = Scripted(clock, "a", [0.002], trace), Scripted(clock, "b", [0.001], trace)
    programs = Programs({"s50": {"a": a, "b": b}}, {"a": "1", "b": "1"}, (), 1)
    measured = measure(manifest({"s50": 0.9}), programs, Effort((1,), 0.01, 3, 5), clock=clock)
    assert trace[2 * WARMUP_RUNS :][:6] == ["a", "b"] * 3
    assert {row.engine: row.chosen for row in measured.measurements} == {"a": False, "b": True}
    assert measured["s50"].engine(1) == "b"


def test_every_sub_net_engine_and_batch_size_is_measured() -> None:
    clock = FakeClock()
    programs = Programs({name: {"fake": FakeProgram(clock, 0.001)} for name in NAMES}, {"fake": "1"}, (), 1)
    measured = measure(manifest(), programs, Effort((1, 2), 0.1, 2, 4), clock=clock)
    assert [(row.subnet, row.batch_size) for row in measured.measurements] == [
        (name, size) for name in NAMES for size in (1, 2)
    ]
    assert measured["s90"].typical(2) == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("effort", "runs"),
    [
        (Effort((1,), seconds=1.0, min_runs=2, max_runs=50), 10),  # time is up
        (Effort((1,), seconds=1.0, min_runs=20, max_runs=50), 20),  # time is up, but too few runs
        (Effort((1,), seconds=1.0, min_runs=2, max_runs=5), 5),  # runs enough before time is up
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
        Effort((1,), 1.0, 10, 1000),
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
        Effort(sizes)


def test_runs_cannot_be_fewer_than_one() -> None:
    with pytest.raises(ProfileError, match="runs from 0 to 400"):
        Effort(min_runs=0)
