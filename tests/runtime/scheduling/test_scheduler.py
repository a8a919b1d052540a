"""The thread around the core. Time is real here: events and futures say when to go on, never a sleep."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from downshift.models.errors import UnknownName
from downshift.runtime.clock import MonotonicClock
from downshift.runtime.engines.programs import Programs
from downshift.runtime.errors import Draining, EngineFailed, InvalidRequest, QueueFull, RuntimeFault
from downshift.runtime.request import Outcome, Request
from downshift.runtime.scheduling.core import Core, Limits
from downshift.runtime.scheduling.execution import Executor
from downshift.runtime.scheduling.fixed import FixedPolicy
from downshift.runtime.scheduling.load import MachineLoad
from downshift.runtime.scheduling.observer import NullObserver
from downshift.runtime.scheduling.scheduler import INLINE_SECONDS, Scheduler
from tests.runtime.doubles import ENGINE, SECONDS, FakeClock, FakeProgram, Recorder, inputs, manifest, profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from downshift.runtime.background import Work
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.request import FloatArray
    from downshift.runtime.scheduling.observer import Observer
    from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, Policy, QueueView

PATIENCE = 30.0  # seconds until a test that hangs fails
SHORT = profile(dict.fromkeys(SECONDS, INLINE_SECONDS / 2))


@dataclass
class Gated(FakeProgram):
    """A program whose runs wait until the gate is opened; `entered` says that one has begun."""

    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def run(self, batch: FloatArray, /) -> FloatArray:
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        return super().run(batch)


@contextmanager
def running(
    program: FakeProgram,
    *observers: Observer,
    policy: Policy = FixedPolicy("s50"),  # noqa: B008
    queued: int = 8,
    background: Work[None] | None = None,
    measured: Profile = profile(),  # noqa: B008 - frozen
    further: Sequence[FakeProgram] = (),
) -> Iterator[Scheduler]:
    """further: a program for each executor but the first."""
    clock = MonotonicClock()
    limits = Limits(queued=queued, executors=1 + len(further))
    core = Core(manifest(), measured, policy, limits=limits, clock=clock)
    executors = [
        Executor(
            manifest(),
            Programs({name: {ENGINE: each} for name in SECONDS}, {ENGINE: "1"}, (), 1),
            max_batch=4,
            clock=clock,
        )
        for each in (program, *further)
    ]
    scheduler = Scheduler(core, executors, load=MachineLoad(), observers=observers)
    scheduler.start(background)
    try:
        yield scheduler
    finally:
        for each in (program, *further):
            if isinstance(each, Gated):
                each.gate.set()
        scheduler.close(PATIENCE)


def occupy(scheduler: Scheduler, program: Gated) -> None:
    """Return once the executor is inside the program, which stays shut."""
    scheduler.submit(Request(inputs(0.0)))
    assert program.entered.wait(PATIENCE)


def test_a_request_is_answered_and_every_event_is_told() -> None:
    events = Recorder()
    request = Request(inputs(3.0))
    with running(FakeProgram(FakeClock()), events) as scheduler:
        answer = scheduler.submit(request).result(PATIENCE)
    assert answer.outputs.tolist() == [[3.0, -3.0]]
    assert answer.point.name == "s50"
    assert events.accepts == [request]
    assert events.refusals == []
    (batch,) = events.starts
    assert (batch.subnet, batch.engine, batch.reason) == ("s50", ENGINE, "fixed")
    assert (len(batch.tickets), batch.examples, batch.expected_seconds) == (1, 1, 0.010)
    assert [(ended, error) for ended, _, error in events.ends] == [(batch, None)]
    (settled,) = events.settlements
    assert (settled.ticket.request, settled.outcome, settled.subnet) == (request, Outcome.OK, "s50")


def test_what_waits_while_the_executor_is_busy_is_batched() -> None:
    program = Gated(FakeClock())
    with running(program) as scheduler:
        occupy(scheduler, program)
        futures = [scheduler.submit(Request(inputs(float(n)))) for n in (1, 2, 3, 4)]
        assert (scheduler.queued, scheduler.in_flight) == (4, 1)
        program.gate.set()
        assert [future.result(PATIENCE).outputs[0, 0] for future in futures] == [1.0, 2.0, 3.0, 4.0]
    assert program.batches == [[0.0], [1.0, 2.0, 3.0, 4.0]]


def test_a_cancelled_request_leaves_the_queue_at_once_and_is_never_executed() -> None:
    program, events = Gated(FakeClock()), Recorder()
    with running(program, events) as scheduler:
        occupy(scheduler, program)
        gone = scheduler.submit(Request(inputs(1.0)))
        stays = scheduler.submit(Request(inputs(2.0)))
        assert gone.cancel()
        assert scheduler.queued == 1
        assert [event.outcome for event in events.settlements] == [Outcome.CANCELLED]
        program.gate.set()
        stays.result(PATIENCE)
    with pytest.raises(CancelledError):
        gone.result(0)
    assert program.batches == [[0.0], [2.0]]


def test_refusals_are_raised_and_told_and_leave_nothing_queued() -> None:
    program, events = Gated(FakeClock()), Recorder()
    with running(program, events, queued=1) as scheduler:
        occupy(scheduler, program)
        scheduler.submit(Request(inputs(1.0)))
        for request, error in (
            (Request(inputs(1.0)), QueueFull),
            (Request(inputs(1.0), subnet="s1"), UnknownName),
            (Request(inputs(float("nan"))), InvalidRequest),
        ):
            with pytest.raises(error):
                scheduler.submit(request)
        assert scheduler.queued == 1
    assert [type(error) for _, error in events.refusals] == [QueueFull, UnknownName, InvalidRequest]


def test_closing_answers_what_waits_and_refuses_what_comes() -> None:
    program = Gated(FakeClock())
    with running(program) as scheduler:
        occupy(scheduler, program)
        waiting = scheduler.submit(Request(inputs(1.0)))
        assert scheduler.serving
        closing = threading.Thread(target=scheduler.close, args=(PATIENCE,))
        closing.start()
        while scheduler.serving:
            threading.Event().wait(0.001)
        with pytest.raises(Draining):
            scheduler.submit(Request(inputs(2.0)))
        program.gate.set()
        closing.join(PATIENCE)
        assert waiting.result(0).outputs[0, 0] == 1.0
        assert (scheduler.queued, scheduler.in_flight, scheduler.serving) == (0, 0, False)


def test_what_still_waits_when_the_time_to_drain_is_over_fails_as_draining() -> None:
    program, events = Gated(FakeClock()), Recorder()
    with running(program, events) as scheduler:
        occupy(scheduler, program)
        left = scheduler.submit(Request(inputs(1.0)))
        left.add_done_callback(lambda _: program.gate.set())
        scheduler.close(0.0)
        assert isinstance(left.exception(0), Draining)
    assert program.batches == [[0.0]]
    assert sorted(event.outcome for event in events.settlements) == [Outcome.FAILED, Outcome.OK]


def test_closing_twice_is_closing_once() -> None:
    with running(FakeProgram(FakeClock())) as scheduler:
        scheduler.close(PATIENCE)
        scheduler.close(PATIENCE)


def test_an_engine_that_fails_fails_its_batch_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    events = Recorder()
    with (
        caplog.at_level(logging.CRITICAL),
        running(FakeProgram(FakeClock(), poison=1.0), events) as scheduler,
    ):
        assert isinstance(scheduler.submit(Request(inputs(1.0))).exception(PATIENCE), EngineFailed)
        assert scheduler.submit(Request(inputs(2.0))).result(PATIENCE).outputs[0, 0] == 2.0
    assert [error is None for _, _, error in events.ends] == [False, True]


def test_an_observer_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(NullObserver):
        def accepted(self, request: Request) -> None:
            raise ValueError("broken")

        def settled(self, event: object) -> None:
            raise ValueError("broken")

    with caplog.at_level(logging.CRITICAL + 1), running(FakeProgram(FakeClock()), Broken()) as scheduler:
        assert scheduler.submit(Request(inputs(2.0))).result(PATIENCE).outputs[0, 0] == 2.0


def test_every_observer_receives_every_event_even_beside_one_that_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Recorder):
        def started(self, batch: object) -> None:
            raise ValueError("broken")

    one, other = Recorder(), Recorder()
    with (
        caplog.at_level(logging.CRITICAL + 1),
        running(FakeProgram(FakeClock()), Broken(), one, other) as scheduler,
    ):
        request = Request(inputs(2.0))
        scheduler.submit(request).result(PATIENCE)
        with pytest.raises(InvalidRequest):
            scheduler.submit(Request(inputs(float("nan"))))
        scheduler.progressed(0.5, "half")
        scheduler.refused("s90", ENGINE)
    for recorder in (one, other):
        assert recorder.accepts == [request]
        assert [type(error) for _, error in recorder.refusals] == [InvalidRequest]
        assert len(recorder.starts) == len(recorder.ends) == len(recorder.settlements) == 1
        assert recorder.improvements == [(0.5, "half")]
        assert recorder.misfits == [("s90", ENGINE)]


@pytest.mark.parametrize("inline", [False, True])
def test_a_policy_that_raises_leaves_nobody_waiting(caplog: pytest.LogCaptureFixture, inline: bool) -> None:
    class Broken:
        def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:
            raise ValueError("broken")

    program = FakeProgram(FakeClock())
    with caplog.at_level(logging.CRITICAL), running(program, policy=Broken(), measured=SHORT) as scheduler:
        future = scheduler.submit(Request(inputs(2.0)), inline=inline)
        with pytest.raises(Draining):
            future.result(PATIENCE)
        assert not scheduler.serving
    assert "the scheduler stopped" in caplog.text


class Placed(FakeProgram):
    """A program that remembers which threads ran it."""

    def run(self, batch: FloatArray, /) -> FloatArray:
        self.threads = [*getattr(self, "threads", []), threading.current_thread()]
        return super().run(batch)


def test_a_short_request_is_run_by_the_thread_that_brings_it_where_that_has_nothing_else_to_do() -> None:
    program, events = Placed(FakeClock()), Recorder()
    with running(program, events, measured=SHORT) as scheduler:
        future = scheduler.submit(Request(inputs(3.0)), inline=True)
        assert future.done()
        assert future.result().outputs.tolist() == [[3.0, -3.0]]
        assert (scheduler.queued, scheduler.in_flight) == (0, 0)
        scheduler.submit(Request(inputs(3.0))).result(PATIENCE)
    here, there = program.threads
    assert here is threading.current_thread()
    assert there.name == "downshift-executor"
    assert [event.outcome for event in events.settlements] == [Outcome.OK, Outcome.OK]
    assert len(events.accepts) == len(events.starts) == len(events.ends) == 2


def test_what_may_take_long_is_left_to_the_execution_thread() -> None:
    program = Placed(FakeClock())
    with running(program, measured=SHORT) as scheduler:
        scheduler.submit(Request(inputs(1.0, 2.0, 3.0)), inline=True).result(PATIENCE)
    with running(program) as scheduler:
        scheduler.submit(Request(inputs(1.0)), inline=True).result(PATIENCE)
    assert [thread.name for thread in program.threads] == ["downshift-executor"] * 2


def test_nothing_is_run_inline_while_a_job_runs_or_another_waits() -> None:
    program = Gated(FakeClock())
    with running(program, measured=SHORT) as scheduler:
        occupy(scheduler, program)
        futures = [scheduler.submit(Request(inputs(float(n))), inline=True) for n in (1, 2)]
        assert not any(future.done() for future in futures)
        assert scheduler.queued == 2
        program.gate.set()
        assert [future.result(PATIENCE).outputs[0, 0] for future in futures] == [1.0, 2.0]


@contextmanager
def inline_run(scheduler: Scheduler, program: Gated) -> Iterator[None]:
    """Meanwhile another thread is inside the program with its own request, until the gate is opened."""
    caller = threading.Thread(target=lambda: scheduler.submit(Request(inputs(1.0)), inline=True))
    caller.start()
    assert program.entered.wait(PATIENCE)
    yield
    caller.join(PATIENCE)


def test_what_comes_while_a_request_is_run_inline_waits_and_is_answered_after_it() -> None:
    program = Gated(FakeClock())
    with running(program, measured=SHORT) as scheduler, inline_run(scheduler, program):
        second = scheduler.submit(Request(inputs(2.0)))
        assert not program.batches
        program.gate.set()
        assert second.result(PATIENCE).outputs[0, 0] == 2.0
    assert program.batches == [[1.0], [2.0]]


def test_closing_waits_for_what_is_run_inline() -> None:
    program = Gated(FakeClock())
    with running(program, measured=SHORT) as scheduler, inline_run(scheduler, program):
        closing = threading.Thread(target=scheduler.close, args=(PATIENCE,))
        closing.start()
        closing.join(0.05)
        assert closing.is_alive(), "its programs must not go away under it"
        program.gate.set()
        closing.join(PATIENCE)
        assert not closing.is_alive()


def test_an_engine_that_fails_inline_fails_that_request_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        caplog.at_level(logging.CRITICAL),
        running(FakeProgram(FakeClock(), poison=1.0), measured=SHORT) as scheduler,
    ):
        assert isinstance(scheduler.submit(Request(inputs(1.0)), inline=True).exception(0), EngineFailed)
        assert scheduler.submit(Request(inputs(2.0)), inline=True).result(0).outputs[0, 0] == 2.0


def test_background_work_goes_on_between_requests_that_are_run_inline() -> None:
    program, pieces, enough = Placed(FakeClock()), [], threading.Event()

    def work() -> Work[None]:
        while len(pieces) < 3:
            assert not busy.locked(), "no piece is done while a request is run"
            pieces.append(threading.current_thread().name)
            yield 0.0
        enough.set()

    busy = threading.Lock()
    program.run, run = (lambda batch: _holding(busy, run, batch)), program.run  # type: ignore[method-assign]
    with running(program, measured=SHORT, background=work()) as scheduler:
        while not enough.wait(0.001):
            scheduler.submit(Request(inputs(1.0)), inline=True).result(PATIENCE)
    assert pieces == ["downshift-executor"] * 3


def _holding(lock: threading.Lock, run: Callable[[FloatArray], FloatArray], batch: FloatArray) -> FloatArray:
    with lock:
        return run(batch)


def test_many_threads_submit_and_cancel_and_each_request_ends_once() -> None:
    events = Recorder()
    results: list[str] = []

    def client(number: int) -> None:
        for turn in range(50):
            value = float(1000 * number + turn)
            try:
                future = scheduler.submit(Request(inputs(value)), inline=turn % 2 == 0)
            except RuntimeFault:
                results.append("refused")
                continue
            if turn % 3 == 0 and future.cancel():
                results.append("cancelled")
            else:
                results.append("ok" if future.result(PATIENCE).outputs[0, 0] == value else "wrong")

    with running(FakeProgram(FakeClock()), events, queued=3, measured=SHORT) as scheduler:
        clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join(PATIENCE)
    assert len(results) == 200
    assert "wrong" not in results
    ends = [event.outcome for event in events.settlements]
    assert len({event.ticket.request for event in events.settlements}) == len(ends) == len(events.accepts)
    assert ends.count(Outcome.CANCELLED) == results.count("cancelled")
    assert ends.count(Outcome.OK) == results.count("ok")


def test_background_work_is_done_on_the_execution_thread_while_nothing_waits() -> None:
    threads, done = set(), threading.Event()

    def work() -> Work[None]:
        for _ in range(5):
            threads.add(threading.current_thread().name)
            yield 0.0
        done.set()

    with running(FakeProgram(FakeClock()), background=work()) as scheduler:
        assert done.wait(PATIENCE)
        assert scheduler.submit(Request(inputs(1.0))).result(PATIENCE).point.name == "s50"
    assert threads == {"downshift-executor"}


def test_requests_that_arrive_during_a_piece_come_before_the_next() -> None:
    entered, gate = threading.Event(), threading.Event()
    order: list[str] = []
    done = threading.Event()

    def work() -> Work[None]:
        entered.set()
        assert gate.wait(PATIENCE)
        order.append("first piece")
        yield 0.0
        order.append("second piece")
        done.set()

    with running(FakeProgram(FakeClock()), background=work()) as scheduler:
        assert entered.wait(PATIENCE)
        futures = [scheduler.submit(Request(inputs(float(n)))) for n in range(3)]
        for future in futures:
            future.add_done_callback(lambda _: order.append("answer"))
        gate.set()
        assert done.wait(PATIENCE)
    assert order == ["first piece", "answer", "answer", "answer", "second piece"]


def test_background_work_that_fails_is_given_up_and_serving_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> Work[None]:
        yield 0.0
        raise RuntimeError("no faster program")

    with running(FakeProgram(FakeClock()), background=work()) as scheduler:
        for _ in range(3):
            scheduler.submit(Request(inputs(1.0))).result(PATIENCE)
            if caplog.records:
                break
        assert scheduler.serving
    assert "is dropped; serving goes on" in caplog.text


def test_closing_ends_background_work_where_it_is() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> Work[None]:
        try:
            while True:
                begun.set()
                yield 0.001
        finally:
            ended.set()

    with running(FakeProgram(FakeClock()), background=work()):
        assert begun.wait(PATIENCE)
    assert ended.is_set()


def test_better_programs_take_over_between_jobs_and_no_outcome_is_lost() -> None:
    events, clock = Recorder(), FakeClock()
    before, after = FakeProgram(clock), FakeProgram(clock, engine="better")
    replaced = Programs({name: {"better": after} for name in SECONDS}, {"better": "1"}, (), 1)
    faster = profile({name: seconds / 2 for name, seconds in SECONDS.items()})
    better = replace(faster, measurements=tuple(replace(m, engine="better") for m in faster.measurements))
    real_time = MonotonicClock()
    programs = Programs({name: {ENGINE: before} for name in SECONDS}, {ENGINE: "1"}, (), 1)
    core = Core(manifest(), profile(), FixedPolicy("s50"), limits=Limits(), clock=real_time)
    executor = Executor(manifest(), programs, max_batch=4, clock=real_time)
    scheduler = Scheduler(core, [executor], load=MachineLoad(), observers=[events])

    def work() -> Work[None]:
        yield 0.0
        scheduler.progressed(0.5, "half of it")
        scheduler.adopt(better, [replaced])

    scheduler.start(work())
    try:
        while not after.batches:
            futures = [scheduler.submit(Request(inputs(float(n)))) for n in range(20)]
            assert [future.result(PATIENCE).outputs[0, 0] for future in futures] == [
                float(n) for n in range(20)
            ]
    finally:
        scheduler.close(PATIENCE)
    assert core.profile["s50"].engine(1) == "better"
    assert len(events.settlements) == len(events.accepts)
    assert {event.engine for event in events.settlements} <= {ENGINE, "better"}
    assert events.improvements == [(0.5, "half of it")]


def test_two_executors_run_two_batches_at_once() -> None:
    one, two = Gated(FakeClock()), Gated(FakeClock())
    with running(one, further=[two]) as scheduler:
        futures = [scheduler.submit(Request(inputs(1.0)))]
        assert any_entered(one, two), "an idle executor takes it"
        futures += [scheduler.submit(Request(inputs(float(n)))) for n in (2, 3)]
        assert one.entered.wait(PATIENCE)
        assert two.entered.wait(PATIENCE)
        assert scheduler.in_flight + scheduler.queued == 3
        one.gate.set()
        two.gate.set()
        assert [future.result(PATIENCE).outputs[0, 0] for future in futures] == [1.0, 2.0, 3.0]
    assert sorted(value for program in (one, two) for run in program.batches for value in run) == [1, 2, 3]


def any_entered(*programs: Gated) -> bool:
    """Whether one of the programs is entered before patience ends."""
    return any(program.entered.wait(PATIENCE / 10) for program in programs) or programs[0].entered.wait(
        PATIENCE
    )


def test_an_inline_request_runs_while_another_executor_is_busy() -> None:
    one, two = Gated(FakeClock()), Gated(FakeClock())
    with running(one, further=[two], measured=SHORT) as scheduler:
        scheduler.submit(Request(inputs(1.0)))
        assert any_entered(one, two)
        (one if not one.entered.is_set() else two).gate.set()
        future = scheduler.submit(Request(inputs(2.0)), inline=True)
        assert future.result(PATIENCE).outputs.tolist() == [[2.0, -2.0]]
        assert scheduler.in_flight == 1, "the first is still there"


def test_better_programs_reach_an_executor_that_is_busy_before_its_next_batch() -> None:
    clock = FakeClock()
    first, busy, better = FakeProgram(clock), Gated(clock), FakeProgram(clock, engine="better")
    faster = profile(SECONDS)
    measured = replace(faster, measurements=tuple(replace(m, engine="better") for m in faster.measurements))
    replaced = Programs({name: {"better": better} for name in SECONDS}, {"better": "1"}, (), 1)
    adopted = threading.Event()
    held: list[Scheduler] = []

    def work() -> Work[None]:
        while not (busy.entered.is_set() or first.batches):
            yield 0.001
        held[0].adopt(measured, [replaced, replaced])
        adopted.set()

    with running(first, further=[busy]) as scheduler:
        held.append(scheduler)
        scheduler.submit(Request(inputs(0.0)), inline=False)
        for _ in work():
            pass
        assert adopted.is_set()
        busy.gate.set()
        futures = [scheduler.submit(Request(inputs(float(n)))) for n in range(1, 9)]
        assert [future.result(PATIENCE).engine for future in futures] == ["better"] * 8
