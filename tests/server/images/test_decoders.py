from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from downshift.runtime.errors import DeadlineExpired
from downshift.server.errors import DecodersBusy
from downshift.server.images.decoders import Decoders


class Gate:
    """Work that goes on until it is let."""

    def __init__(self) -> None:
        self.began, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.opened.wait(60)
        return "done"


def test_work_is_done_on_another_thread() -> None:
    decoders = Decoders(waiting=0, threads=1)
    assert decoders.submit(threading.get_ident).result() != threading.get_ident()
    decoders.close()


def test_a_full_queue_refuses_until_somebody_leaves_it() -> None:
    decoders, gate = Decoders(waiting=1, threads=1), Gate()
    running = decoders.submit(gate)
    assert gate.began.wait(60)
    waiting = decoders.submit(lambda: "second")
    for refuse in (decoders.check, lambda: decoders.submit(lambda: "third")):
        with pytest.raises(DecodersBusy, match="1 images wait to be decoded, as many as may: retry"):
            refuse()
    assert waiting.cancel()
    decoders.check()
    gate.opened.set()
    assert running.result() == "done"
    decoders.close()


def test_what_fails_leaves_the_queue_too() -> None:
    decoders = Decoders(waiting=0, threads=1)
    for _ in range(3):
        future = decoders.submit(lambda: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            future.result()
        decoders.submit(lambda: None).result()
    decoders.close()


def test_work_whose_deadline_passed_while_it_waited_is_not_done() -> None:
    now = [10.0]
    decoders, gate, done = Decoders(waiting=2, threads=1, now=lambda: now[0]), Gate(), []
    running = decoders.submit(gate, deadline=11.0)
    assert gate.began.wait(60)
    late, early = (decoders.submit(lambda: done.append(1), deadline=each) for each in (10.5, 12.0))
    now[0] = 11.5
    gate.opened.set()
    assert running.result() == "done"
    with pytest.raises(DeadlineExpired, match="deadline expired after"):
        late.result()
    early.result()
    assert done == [1]
    decoders.close()


def test_closing_cancels_what_waits() -> None:
    decoders, gate = Decoders(waiting=1, threads=1), Gate()
    running = decoders.submit(gate)
    assert gate.began.wait(60)
    waiting = decoders.submit(lambda: "never")
    decoders.close()
    gate.opened.set()
    assert running.result() == "done"
    with pytest.raises(CancelledError):
        waiting.result()
