"""What is left to do when serving begins: tuned, measured, handed over and kept, in that order."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from downshift.runtime.background import finish
from downshift.runtime.engines.engine import Fit, Forward, unchecked
from downshift.runtime.engines.programs import Programs
from downshift.runtime.errors import SelfCheckFailed
from downshift.runtime.improvement import Improvement
from downshift.runtime.json_cache import JsonCache
from downshift.runtime.profiling.profile_cache import ProfileCache
from downshift.runtime.profiling.profiler import Effort
from tests.runtime.doubles import FakeClock, FakeProgram, inputs, manifest
from tests.runtime.profiling.test_tuning import Adjustable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from downshift.runtime.background import Work
    from downshift.runtime.profiling.profile import Profile

EFFORT = Effort(batch_sizes=(1, 2), seconds=1.0, min_runs=2, max_runs=2, tune_seconds=3.0)


class Quickened(Adjustable):
    """Forgets, when it has been tuned, what it ran before."""

    def tuning(self, seconds: float, fit: Fit = unchecked) -> Work[None]:
        yield from super().tuning(seconds, fit)
        self.batches = []


class Ruined(Adjustable):
    """What tuning finds answers the opposite."""

    def tuning(self, seconds: float, fit: Fit = unchecked) -> Work[None]:
        yield from super().tuning(seconds, lambda run: fit(lambda batch: -run(batch)))


@dataclass
class Negates:
    """Takes a program for right when it answers `[x, -x]`; raises `error` for any other."""

    error: Exception = field(default_factory=lambda: SelfCheckFailed("off by 2"))
    checked: list[tuple[str, str]] = field(default_factory=list)

    def check(self, subnet: str, engine: str, run: Forward) -> None:
        self.checked.append((subnet, engine))
        if run(inputs(1.0)).tolist() != [[1.0, -1.0]]:
            raise self.error


def nobody(*_: object) -> None:
    raise AssertionError("nothing was to be refused")


def test_programs_are_tuned_before_they_are_measured_and_the_profile_is_kept(tmp_path: Path) -> None:
    clock, cache = FakeClock(), ProfileCache(JsonCache(tmp_path))
    quick, plain = Quickened(clock), FakeProgram(clock)
    one = manifest({"s50": 0.9})
    programs = Programs({"s50": {"a": quick, "b": plain}}, {"a": "1", "b": "1"}, (), 1)
    adopted: list[tuple[Profile, Sequence[Programs]]] = []
    heard: list[float] = []
    reference = Negates()
    work = Improvement(EFFORT, cache, reference).work(
        one,
        programs,
        lambda *better: adopted.append(better),
        lambda fraction, _: heard.append(fraction),
        nobody,
    )
    next(work)
    assert (quick.spent, quick.batches, adopted) == ([], [], [])
    next(work)  # the first run that is measured
    assert (quick.spent, len(quick.batches)) == ([3.0], 1)
    finish(work)
    ((profile, (kept,)),) = adopted
    assert {m.engine for m in profile.measurements} == {"a", "b"}
    assert {("s50", engine) for engine in kept.by_subnet["s50"]} == {
        (m.subnet, m.engine) for m in profile.measurements if m.chosen
    }
    assert reference.checked == [("s50", quick.engine)]
    assert cache.load(one.sha256, profile.machine) == profile
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_it_stops_where_it_is_closed_with_nothing_handed_over(tmp_path: Path) -> None:
    programs = Programs({"s50": {"a": Adjustable(FakeClock())}}, {"a": "1"}, (), 1)
    adopted: list[tuple[Profile, Sequence[Programs]]] = []
    work = Improvement(EFFORT, ProfileCache(JsonCache(tmp_path)), Negates()).work(
        manifest({"s50": 0.9}), programs, lambda *better: adopted.append(better), lambda *_: None, nobody
    )
    next(work)
    work.close()
    assert (adopted, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("error", [SelfCheckFailed("off by 2"), ValueError("whatever an engine raises")])
def test_a_tuned_program_that_answers_something_else_is_refused_said_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    clock, cache = FakeClock(), ProfileCache(JsonCache(tmp_path))
    wrong, right = Ruined(clock, engine="wrong"), Adjustable(clock, engine="right")
    two = manifest({"s50": 0.9, "s90": 0.8})
    programs = Programs({"s50": {"wrong": wrong}, "s90": {"right": right}}, {}, (), 1)
    adopted: list[tuple[Profile, Sequence[Programs]]] = []
    refused: list[tuple[str, str]] = []
    with caplog.at_level(logging.ERROR):
        finish(
            Improvement(EFFORT, cache, Negates(error)).work(
                two,
                programs,
                lambda *better: adopted.append(better),
                lambda *_: None,
                lambda *which: refused.append(which),
            )
        )
    assert refused == [("s50", "wrong")]
    assert (wrong.tuned, right.tuned) == (False, True)
    assert "the tuned program of s50 on wrong is refused" in caplog.text
    assert str(error) in caplog.text
    ((_, (kept,)),) = adopted
    assert kept.get("s50") is wrong
    assert kept.get("s50").run(inputs(3.0)).tolist() == [[3.0, -3.0]]
