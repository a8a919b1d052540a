from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from downshift.runtime.background import finish
from downshift.runtime.engines.engine import Fit, Forward, unchecked
from downshift.runtime.engines.programs import Programs
from downshift.runtime.profiling.tuning import tuning
from tests.runtime.doubles import FakeClock, FakeProgram

if TYPE_CHECKING:
    from downshift.runtime.background import Work


@dataclass
class Adjustable(FakeProgram):
    tuned: bool = False
    spent: list[float] = field(default_factory=list)

    def tuning(self, seconds: float, fit: Fit = unchecked) -> Work[None]:
        yield 0.0
        self.spent.append(seconds)
        self.tuned = fit(self.run)


CLOCK = FakeClock()


def test_what_can_be_tuned_and_was_not_is_tuned_and_nothing_else() -> None:
    fresh, tuned, plain = Adjustable(CLOCK), Adjustable(CLOCK, tuned=True), FakeProgram(CLOCK)
    heard: list[tuple[float, str]] = []
    programs = Programs({"s50": {"a": fresh, "b": plain}, "s90": {"a": tuned}}, {}, (), 1)
    finish(tuning(programs, 2.0, lambda *report: heard.append(report)))
    assert (fresh.spent, tuned.spent) == ([2.0], [])
    assert heard == [(0.0, "tuning s50")]


def test_no_seconds_is_no_tuning() -> None:
    fresh = Adjustable(CLOCK)
    finish(tuning(Programs({"s50": {"a": fresh}}, {}, (), 1), 0.0))
    assert fresh.spent == []


def test_each_program_is_checked_under_its_own_name() -> None:
    fresh, other = Adjustable(CLOCK), Adjustable(CLOCK, engine="other")
    asked: list[tuple[str, str]] = []

    def check(subnet: str, engine: str, run: Forward) -> bool:
        asked.append((subnet, engine))
        return run == other.run

    finish(tuning(Programs({"s50": {"a": fresh}, "s90": {"b": other}}, {}, (), 1), 1.0, check=check))
    assert asked == [("s50", fresh.engine), ("s90", "other")]
    assert (fresh.tuned, other.tuned) == (False, True)
