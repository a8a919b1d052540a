"""What is left to do when serving begins: tuned, measured, handed over and kept, in that order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.background import finish
from runtime.improvement import Improvement
from runtime.profile_cache import ProfileCache
from runtime.profiler import Effort
from runtime.programs import Programs
from tests.runtime.doubles import FakeClock, FakeProgram, manifest
from tests.runtime.test_tuning import Adjustable

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.background import Work
    from runtime.profile import Profile

EFFORT = Effort(batch_sizes=(1, 2), seconds=1.0, min_runs=2, max_runs=2, tune_seconds=3.0)


class Quickened(Adjustable):
    """Runs at once when it has been tuned, and until then takes a second."""

    def tuning(self, seconds: float) -> Work[None]:
        yield from super().tuning(seconds)
        self.tuned, self.batches = True, []


def test_programs_are_tuned_before_they_are_measured_and_the_profile_is_kept(tmp_path: Path) -> None:
    clock, cache = FakeClock(), ProfileCache(tmp_path)
    quick, plain = Quickened(clock), FakeProgram(clock)
    one = manifest({"s50": 0.9})
    programs = Programs({"s50": {"a": quick, "b": plain}}, {"a": "1", "b": "1"}, (), 1)
    adopted: list[tuple[Profile, Programs]] = []
    heard: list[float] = []
    work = Improvement(EFFORT, cache).work(
        one, programs, lambda *better: adopted.append(better), lambda fraction, _: heard.append(fraction)
    )
    next(work)
    assert (quick.spent, quick.batches, adopted) == ([], [], [])
    next(work)  # the first run that is measured
    assert (quick.spent, len(quick.batches)) == ([3.0], 1)
    finish(work)
    ((profile, kept),) = adopted
    assert {m.engine for m in profile.measurements} == {"a", "b"}
    assert {("s50", engine) for engine in kept.by_subnet["s50"]} == {
        (m.subnet, m.engine) for m in profile.measurements if m.chosen
    }
    assert cache.load(one.sha256, profile.machine) == profile
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_it_stops_where_it_is_closed_with_nothing_handed_over(tmp_path: Path) -> None:
    programs = Programs({"s50": {"a": Adjustable(FakeClock())}}, {"a": "1"}, (), 1)
    adopted: list[tuple[Profile, Programs]] = []
    work = Improvement(EFFORT, ProfileCache(tmp_path)).work(
        manifest({"s50": 0.9}), programs, lambda *better: adopted.append(better), lambda *_: None
    )
    next(work)
    work.close()
    assert (adopted, list(tmp_path.iterdir())) == ([], [])
