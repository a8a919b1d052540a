from __future__ import annotations

import os

from runtime.machine import default_threads, this_machine, usable_cores


def test_a_machine_is_the_same_a_moment_later() -> None:
    assert this_machine(2, {"a": "1"}) == this_machine(2, {"a": "1"})


def test_threads_and_versions_are_part_of_it() -> None:
    assert this_machine(1, {"a": "1"}) != this_machine(2, {"a": "1"})
    assert this_machine(1, {"a": "1"}) != this_machine(1, {"a": "2"})


def test_the_processor_has_a_name() -> None:
    assert this_machine(1, {}).cpu


def test_no_more_threads_than_cores_that_may_be_used() -> None:
    assert 1 <= default_threads() <= usable_cores() <= (os.cpu_count() or 1)
