"""A neighbour that computes only when it may, and what engines take beside it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

import pytest

from benchmarks.engines import busy_core
from benchmarks.engines.busy_core import Samples
from benchmarks.harness.neighbour import Neighbour

CORE = min(os.sched_getaffinity(0))


class Noted(Neighbour):
    """Notes when it may compute instead of doing so."""

    def __init__(self, events: list[str]) -> None:
        super().__init__(CORE)
        self._events = events

    def compute(self) -> None:
        self._events.append("compute")

    def pause(self) -> None:
        self._events.append("pause")


@dataclass
class Engine:
    """A contender whose every run takes a quarter of a second."""

    engine: str
    events: list[str]
    version: str = "1"
    sparsity: float = 0.9
    asked: list[int] = field(default_factory=list)

    def time(self, runs: int, *, warm: bool = True) -> list[float]:
        self.events.append(self.engine)
        self.asked.append(runs)
        return [busy_core.BLOCK_SECONDS] * runs


def test_engines_take_turns_alone_and_beside_the_neighbour() -> None:
    events: list[str] = []
    ready = [Engine("ours", events), Engine("theirs", events)]
    samples = busy_core.alternate(ready, Noted(events), rounds=2)
    assert events == ["ours", "theirs", *["ours", "theirs", "compute", "ours", "theirs", "pause"] * 2]
    assert ready[0].asked == [10, 3, 3, 3, 3]
    assert [len(block) for block in samples["theirs"].beside] == [3, 3]


def test_the_table_compares_round_by_round() -> None:
    (*_, line) = busy_core.lines({"ours": Samples([[1e-3] * 4, [2e-3] * 4], [[1.5e-3] * 4, [3e-3] * 4])})
    assert line == ("| ours | 8 | 1.5 | 2 | 1.5 | 2.25 | 3 | 2.25 | 1.50x | 1.50x to 1.50x | 1.50x | 1.50x |")


def test_the_neighbour_computes_when_it_may_and_is_gone_at_the_end() -> None:
    with Neighbour(CORE) as neighbour:
        neighbour.compute()
        before = neighbour.used
        until = time.monotonic() + 60
        while neighbour.used < before + 0.05:
            assert time.monotonic() < until, "it does not compute"
        neighbour.pause()
    with pytest.raises(ProcessLookupError):
        os.kill(neighbour.pid, 0)
