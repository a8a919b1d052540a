from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING

import pytest

from downshift.runtime.supervisor import Supervisor, WorkerHealth

if TYPE_CHECKING:
    from collections.abc import Callable


def failing(times: int, error: BaseException, done: threading.Event) -> Callable[[], None]:
    """Work that fails so often, then succeeds and says so."""
    left = iter(range(times))

    def work() -> None:
        if next(left, None) is not None:
            raise error
        done.set()

    return work


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), MemoryError(), SystemExit(1)])
def test_a_worker_survives_whatever_its_work_raises(error: BaseException) -> None:
    supervisor, done = Supervisor(retry=0.001), threading.Event()
    worker = supervisor.start("sampler", failing(3, error, done), period=0.001)
    assert done.wait(60)
    assert supervisor.alive
    worker.close()
    assert supervisor.health == (WorkerHealth(name="sampler", errors=3, healthy=True, alive=True),)


def test_a_worker_whose_last_pass_failed_is_unhealthy_and_alive() -> None:
    supervisor = Supervisor(retry=3600.0)
    worker = supervisor.start("sampler", failing(1, ValueError("no"), threading.Event()))
    wait_until(lambda: supervisor.health[0].errors == 1)
    assert supervisor.health == (WorkerHealth(name="sampler", errors=1, healthy=False, alive=True),)
    worker.close()
    assert supervisor.health == (WorkerHealth(name="sampler", errors=1, healthy=True, alive=True),), "closed"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_whose_thread_has_ended_unasked_is_dead() -> None:
    def broken() -> float:
        raise ValueError("the supervisor's own fault")

    supervisor = Supervisor(now=broken)
    supervisor.start("sampler", failing(1, OSError(), threading.Event()))
    wait_until(lambda: not supervisor.alive)
    assert supervisor.health == (WorkerHealth(name="sampler", errors=0, healthy=False, alive=False),)


def test_failures_are_logged_once_a_minute_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    moments = iter((100.0, 101.0, 159.0, 160.5))
    supervisor = Supervisor(now=lambda: next(moments))
    with caplog.at_level(logging.ERROR):
        for _ in range(4):
            try:
                raise OSError(24, "Too many open files")
            except OSError:
                supervisor._failed("sampler")
    first, second = caplog.records
    assert first.getMessage() == "background worker sampler failed and is run again"
    assert first.exc_info is not None
    assert second.getMessage().endswith("(2 more failures since the last message)")


def test_a_task_of_an_event_loop_survives_too_and_ends_when_cancelled() -> None:
    async def scenario() -> tuple[Supervisor, bool]:
        supervisor, done, left = Supervisor(retry=0.001), asyncio.Event(), iter(range(2))

        async def work() -> None:
            if next(left, None) is not None:
                raise OSError(28, "No space left on device")
            done.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(supervisor.run("watch", work))
        await asyncio.wait_for(done.wait(), 60)
        alive = supervisor.health[0].healthy
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return supervisor, alive

    supervisor, alive = asyncio.run(scenario())
    assert alive
    assert supervisor.health == (WorkerHealth(name="watch", errors=2, healthy=True, alive=True),)


def test_workers_of_one_name_are_counted_together_and_errors_outlast_them() -> None:
    supervisor, first, second = Supervisor(retry=0.001), threading.Event(), threading.Event()
    one = supervisor.start("load", failing(1, ValueError(), first), period=0.001)
    other = supervisor.start("load", failing(2, ValueError(), second), period=0.001)
    assert first.wait(60)
    assert second.wait(60)
    one.close()
    other.close()
    assert supervisor.health == (WorkerHealth(name="load", errors=3, healthy=True, alive=True),)


def test_a_thread_that_cannot_be_started_is_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    supervisor = Supervisor()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            supervisor.start("sampler", lambda: None)
    assert supervisor.alive


def test_a_worker_that_runs_once_is_dead_from_its_failure_until_it_is_closed() -> None:
    supervisor = Supervisor()
    executor, other = supervisor.enrol("executor"), supervisor.enrol("executor")
    assert supervisor.health == (WorkerHealth(name="executor", errors=0, healthy=True, alive=True),)
    executor.died()
    executor.died()
    assert not supervisor.alive
    assert supervisor.health == (WorkerHealth(name="executor", errors=1, healthy=False, alive=False),)
    executor.close()
    executor.close()
    assert supervisor.alive
    other.close()
    assert supervisor.health == (WorkerHealth(name="executor", errors=1, healthy=True, alive=True),)
