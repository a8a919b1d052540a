"""Work in pieces: all of it at once, or one long task on a thread of its own."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from downshift.runtime.background import NICENESS, aside, finish

if TYPE_CHECKING:
    from downshift.runtime.background import Work


def test_the_result_is_what_the_work_returns() -> None:
    def work() -> Work[str]:
        yield 0.0
        yield 0.001
        return "done"

    assert finish(work()) == "done"


def test_a_long_task_runs_elsewhere_while_its_pieces_only_rest() -> None:
    gate = threading.Event()
    work = aside(lambda: (gate.wait(60), threading.current_thread().name))
    assert [next(work) > 0 for _ in range(3)] == [True] * 3
    gate.set()
    waited, thread = finish(work)
    assert waited
    assert thread.startswith("downshift-background")


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own here")
def test_a_long_task_steps_back_behind_every_other_thread() -> None:
    assert finish(aside(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))) >= NICENESS


def test_what_the_task_raises_comes_out() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        finish(aside(fail))


def test_closing_waits_for_the_task() -> None:
    gate, ended = threading.Event(), threading.Event()
    work = aside(lambda: (gate.wait(60), ended.set()))
    next(work)
    gate.set()
    work.close()
    assert ended.is_set()
