"""Counters of processes that have ended."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from downshift.server.processes.last_told import LastTold
from downshift.server.telemetry.exposition import OPENMETRICS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ended() -> list[int]:
    """Numbers of two processes that run no more."""
    found = [subprocess.Popen([sys.executable, "-c", ""]) for _ in range(2)]
    for process in found:
        process.wait()
    return [process.pid for process in found]


def text(count: int) -> str:
    registry = CollectorRegistry()
    Counter("answers", "text", ["model"], registry=registry).labels("cars").inc(count)
    Histogram("seconds", "text", buckets=(1.0,), registry=registry).observe(0.5, {"trace_id": "abc"})
    Gauge("depth", "text", registry=registry).set(7)
    return OPENMETRICS.write(registry).decode()


def counted(last: LastTold, *answering: int) -> dict[str, float]:
    samples = [sample for family in last.of_others(answering) for sample in family.samples]
    return {sample.name: sample.value for sample in samples if not sample.name.endswith("_created")}


def test_what_answers_is_not_counted_twice(tmp_path: Path) -> None:
    last = LastTold(tmp_path)
    last.keep(os.getpid(), text(3))
    assert counted(last, os.getpid()) == {}
    assert counted(last)["answers_total"] == 3, "it is silent, and has not ended"


def test_what_has_ended_goes_on_counting_in_one_file(tmp_path: Path, ended: list[int]) -> None:
    last = LastTold(tmp_path)
    last.keep(ended[0], text(3))
    assert counted(last) == {"answers_total": 3, "seconds_bucket": 1, "seconds_count": 1, "seconds_sum": 0.5}
    last.keep(ended[1], text(4))
    last.keep(os.getpid(), text(5))
    for _ in range(3):
        assert counted(last, os.getpid())["answers_total"] == 7
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        [f"{os.getpid()}.metrics", "ended.metrics"]
    )


def test_the_moment_of_a_process_that_has_ended_is_gone(tmp_path: Path, ended: list[int]) -> None:
    last = LastTold(tmp_path)
    last.keep(ended[0], text(3))
    assert "depth" not in counted(last)
