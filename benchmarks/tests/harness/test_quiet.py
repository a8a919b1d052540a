"""A measurement that others disturbed is made again, and refused only when it always is."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from benchmarks.harness import quiet
from benchmarks.harness.errors import BusyMachine
from benchmarks.harness.quiet import BUSY, undisturbed


def disturbances(monkeypatch: pytest.MonkeyPatch, *shares: float) -> list[float]:
    left = list(shares)
    monkeypatch.setattr(quiet, "disturbance", lambda _begin: left.pop(0))
    return left


def test_a_quiet_attempt_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    left = disturbances(monkeypatch, BUSY + 0.1, BUSY, 0.0)
    attempts = iter("abc")
    assert undisturbed(lambda: next(attempts)) == ("b", BUSY)
    assert left == [0.0]


def test_it_is_refused_with_the_least_disturbance_there_was(monkeypatch: pytest.MonkeyPatch) -> None:
    disturbances(monkeypatch, 0.4, 0.2, 0.3)
    with pytest.raises(BusyMachine, match="others used 20% of the machine in the quietest of 3 attempts"):
        undisturbed(lambda: None)


def test_what_an_ended_child_used_is_its_own_too() -> None:
    before = quiet.usage()
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert quiet.usage().own - before.own > 0.25


def test_what_this_process_used_is_its_own() -> None:
    before, end = quiet.usage(), time.process_time() + 0.3
    while time.process_time() < end:
        pass
    assert quiet.usage().own - before.own > 0.25


def test_a_disturbance_is_the_share_of_all_cores_that_others_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "usage", lambda: quiet.Usage(all=16.0, own=8.0, at=110.0))
    monkeypatch.setattr(psutil, "cpu_count", lambda: 2)
    assert quiet.disturbance(quiet.Usage(all=10.0, own=5.0, at=100.0)) == 3.0 / 20.0
    assert quiet.disturbance(quiet.Usage(all=14.0, own=5.0, at=100.0)) == 0.0, "clocks are read apart"
