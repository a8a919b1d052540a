from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil

from downshift.runtime import machine
from downshift.runtime.machine import MOST_THREADS, default_threads, this_machine, usable_cores

if TYPE_CHECKING:
    import pytest


def test_a_machine_is_the_same_a_moment_later() -> None:
    assert this_machine(2, {"a": "1"}) == this_machine(2, {"a": "1"})


def test_threads_and_versions_are_part_of_it() -> None:
    assert this_machine(1, {"a": "1"}) != this_machine(2, {"a": "1"})
    assert this_machine(1, {"a": "1"}) != this_machine(1, {"a": "2"})


def test_the_processor_has_a_name() -> None:
    assert this_machine(1, {}).cpu


def test_no_more_threads_than_cores_that_may_be_used() -> None:
    assert 1 <= default_threads() <= usable_cores() <= (os.cpu_count() or 1)


def test_no_more_threads_than_a_program_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 512)
    monkeypatch.setattr(machine, "usable_cores", lambda: 512)
    assert default_threads() == MOST_THREADS
