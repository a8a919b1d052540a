"""What the process manager does when workers die, refuse, hang, and when it is told to end."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

from downshift.server.errors import BadSetting
from downshift.server.processes import manager
from downshift.server.processes.manager import ProcessManager
from tests.server.processes.played import (
    INTERRUPTED,
    answers,
    answers_late,
    dies,
    drains,
    hangs,
    refuses,
    stays,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

SPAWN = get_context("spawn")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are short."""
    monkeypatch.setattr(manager, "FIRST_BACKOFF", 0.01)
    monkeypatch.setattr(manager, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(manager, "KILL_SECONDS", 0.5)


@dataclass
class Scene:
    """Workers that play parts, in the order in which they are started; the last is played again and again.

    then: called at every question whether a worker lives, with its index; its answer.
    """

    parts: list[Callable[[Connection], None]]
    then: Callable[[Scene, int], bool] = lambda *_: True
    started: list[tuple[int, bool]] = field(default_factory=list)
    processes: list[BaseProcess] = field(default_factory=list)
    asked: set[int] = field(default_factory=set)

    def make(self, index: int, reports: Connection, *, joins: bool) -> BaseProcess:
        part = self.parts[min(len(self.started), len(self.parts) - 1)]
        self.started.append((index, joins))
        self.processes.append(SPAWN.Process(target=part, args=(reports,)))
        return self.processes[-1]

    def alive(self, index: int) -> bool:
        self.asked.add(index)
        return self.then(self, index)

    def run(self, workers: int = 1, cores: tuple[frozenset[int], ...] | None = None) -> None:
        ProcessManager(workers, self.make, self.alive, cores=cores, drain_seconds=0.5).run()
        assert all(process.exitcode is not None for process in self.processes)


def end(_: Scene, __: int) -> bool:
    os.kill(os.getpid(), signal.SIGTERM)
    return True


def test_it_ends_when_it_is_asked_to() -> None:
    before = signal.getsignal(signal.SIGTERM)
    scene = Scene([answers], lambda s, i: len(s.asked) < 2 or end(s, i))
    scene.run(2)
    assert scene.started == [(0, False), (1, True)], "the second joins the first"
    assert [process.exitcode for process in scene.processes] == [0, 0]
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_is_seen_by_a_shell() -> None:
    def interrupt(_: Scene, __: int) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return True

    with pytest.raises(KeyboardInterrupt):
        Scene([answers], interrupt).run()


def test_a_worker_that_dies_is_started_again_while_the_others_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def kill_the_first(scene: Scene, index: int) -> bool:
        if len(scene.started) == 2 and index == 0:
            scene.processes[0].kill()
        return len(scene.started) < 3 or end(scene, index)

    scene = Scene([answers], kill_the_first)
    scene.run(2)
    assert scene.started == [(0, False), (1, True), (0, True)]
    assert "worker process 0" in caplog.text
    assert "was ended by signal 9, and starts again in 0.0 s" in caplog.text


def test_what_dies_at_start_three_times_ends_the_server() -> None:
    scene = Scene([dies])
    with pytest.raises(BadSetting, match=r"worker process 0 .*ended with status 3, the third time before"):
        scene.run()
    assert len(scene.started) == 3


def test_why_a_worker_cannot_start_is_said_at_once() -> None:
    scene = Scene([refuses])
    with pytest.raises(BadSetting, match=r"^no model to serve: name a file$"):
        scene.run(2)
    assert len(scene.started) == 1


def test_once_one_has_answered_those_that_die_cost_the_others_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene([answers, dies, dies, refuses, dies, answers], lambda s, i: end_after(s, 6, i))
    scene.run(2)
    assert [index for index, _ in scene.started] == [0, 1, 1, 1, 1, 1]
    assert "starts again in 0.0 s: no model to serve" in caplog.text


def test_a_worker_that_does_not_answer_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene([stays, answers], lambda s, i: len(s.started) > 1 and end(s, i))
    scene.run()
    assert scene.processes[0].exitcode == -signal.SIGKILL
    assert "worker process 0 does not answer and is killed" in caplog.text


def test_a_worker_that_does_not_end_is_killed() -> None:
    scene = Scene([stays], end)
    scene.run()
    assert scene.processes[0].exitcode == -signal.SIGKILL


def test_sighup_reaches_each_once_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not ready gets it later: it may have read the old files already."""
    monkeypatch.setattr(manager, "START_SECONDS", 0.0)
    hung_up = []

    def hang_up(scene: Scene, index: int) -> bool:
        if not hung_up:
            hung_up.append(index)
            os.kill(os.getpid(), signal.SIGHUP)  # of which a played worker dies
        return len(scene.started) < 2 or end(scene, index)

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        scene = Scene([answers_late, answers], hang_up)
        scene.run()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert scene.processes[0].exitcode == -signal.SIGHUP


def test_a_worker_that_hangs_before_it_answers_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "START_SECONDS", 0.2)
    scene = Scene(
        [answers, hangs, answers], lambda s, i: (i == 0 or len(s.started) > 2) and end_after(s, 3, i)
    )
    scene.run(2)
    assert scene.processes[1].exitcode == -signal.SIGKILL


def end_after(scene: Scene, processes: int, index: int) -> bool:
    return len(scene.started) < processes or end(scene, index)


def test_a_process_that_cannot_be_started_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    class Refused(Scene):
        def make(self, index: int, reports: Connection, *, joins: bool) -> BaseProcess:
            if len(self.started) == 1:
                self.started.append((index, joins))
                raise OSError(11, "Resource temporarily unavailable")
            return super().make(index, reports, joins=joins)

    scene = Refused([answers], lambda s, i: end_after(s, 3, i))
    scene.run(2)
    assert scene.started == [(0, False), (1, True), (1, True)]
    assert "worker process 1 cannot be started ([Errno 11] Resource temporarily unavailable)" in caplog.text


def test_asked_twice_workers_end_at_once() -> None:
    def twice(_: Scene, __: int) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        return True

    scene = Scene([drains], twice)
    scene.run()
    assert scene.processes[0].exitcode == INTERRUPTED


def test_each_worker_has_the_cores_it_is_given_and_the_manager_keeps_its_own() -> None:
    mine = os.sched_getaffinity(0)
    core = min(mine)
    seen = []

    def look(scene: Scene, index: int) -> bool:
        pid = scene.processes[0].pid
        assert pid is not None
        seen.append(os.sched_getaffinity(pid))
        return end(scene, index)

    Scene([answers], look).run(1, (frozenset({core}),))
    assert set(map(frozenset, seen)) == {frozenset({core})}
    assert os.sched_getaffinity(0) == mine


def test_a_steady_worker_begins_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The wait grows with deaths at start alone."""
    monkeypatch.setattr(manager, "STEADY_SECONDS", 0.0)

    def kill(scene: Scene, index: int) -> bool:
        if len(scene.started) > 4:
            return end(scene, index)
        scene.processes[-1].kill()
        time.sleep(0.05)
        return True

    Scene([answers], kill).run()
    assert caplog.text.count("starts again in 0.0 s") == 4
