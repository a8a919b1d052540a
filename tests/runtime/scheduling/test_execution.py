from __future__ import annotations

import logging
from concurrent.futures import Future

import numpy as np
import pytest

from downshift.runtime.engines.programs import Programs
from downshift.runtime.errors import EngineFailed, InputOverflow, NonFiniteOutput
from downshift.runtime.request import Answer, Outcome, Request
from downshift.runtime.scheduling.execution import Executor
from downshift.runtime.scheduling.lifecycle import Batch, Settled, Ticket
from tests.runtime.doubles import ENGINE, FakeClock, FakeProgram, inputs, manifest


def executor(program: FakeProgram, max_batch: int = 4) -> Executor:
    programs = Programs({"s50": {ENGINE: program}}, {ENGINE: "1"}, (), 1)
    return Executor(manifest(), programs, max_batch=max_batch, clock=program.clock)


def job(clock: FakeClock, *requests: list[float], deadline: float = np.inf, delivery: float = 0.0) -> Batch:
    tickets = tuple(
        Ticket(
            arrival=clock.time - 1.0,
            deadline=deadline - delivery,
            examples=len(values),
            candidates=("s50",),
            request=Request(inputs(*values)),
            future=Future(),
            due=deadline,
        )
        for values in requests
    )
    return Batch(
        tickets=tickets,
        examples=sum(ticket.examples for ticket in tickets),
        subnet="s50",
        engine=ENGINE,
        reason="accurate",
        started=clock.time,
        expected_seconds=0.01,
    )


def answer(ending: Settled) -> Answer:
    assert ending.answer is not None
    return ending.answer


def test_every_request_gets_its_own_rows() -> None:
    program = FakeProgram(FakeClock(), 0.5)
    runs, endings = executor(program).run(job(program.clock, [1.0], [2.0, 3.0]))
    assert program.batches == [[1.0, 2.0, 3.0]]
    assert [answer(ending).outputs.tolist() for ending in endings] == [[[1, -1]], [[2, -2], [3, -3]]]
    first = answer(endings[0])
    assert (first.point.name, first.engine, first.batch_size, first.late) == ("s50", ENGINE, 3, False)
    assert (first.queue_seconds, first.compute_seconds) == (1.0, 1.5)
    assert [(run.seconds, run.error) for run in runs] == [(1.5, None)]
    assert [ending.outcome for ending in endings] == [Outcome.OK, Outcome.OK]


def test_more_examples_than_the_largest_batch_run_in_pieces() -> None:
    program = FakeProgram(FakeClock())
    _, (ending,) = executor(program, max_batch=2).run(job(program.clock, [1.0, 2.0, 3.0, 4.0, 5.0]))
    assert program.batches == [[1.0, 2.0], [3.0, 4.0], [5.0]]
    assert answer(ending).outputs[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_an_answer_after_the_deadline_is_late() -> None:
    program = FakeProgram(FakeClock(100.0), 0.5)
    _, (ending,) = executor(program).run(job(program.clock, [1.0], deadline=100.4))
    assert answer(ending).late
    assert ending.outcome is Outcome.LATE


def test_an_answer_that_uses_up_what_was_kept_for_delivery_is_not_late() -> None:
    program = FakeProgram(FakeClock(100.0), 0.5)
    _, (ending,) = executor(program).run(job(program.clock, [1.0], deadline=100.6, delivery=0.2))
    assert not answer(ending).late


def test_a_poisoned_request_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    program = FakeProgram(FakeClock(), 0.5, poison=2.0)
    with caplog.at_level(logging.CRITICAL):
        runs, endings = executor(program).run(job(program.clock, [1.0], [2.0], [3.0]))
    assert program.batches == [[1.0, 2.0, 3.0], [1.0], [2.0], [3.0]]
    assert [ending.outcome for ending in endings] == [Outcome.OK, Outcome.FAILED, Outcome.OK]
    fault = endings[1].error
    assert isinstance(fault, EngineFailed)
    assert str(fault) == "engine fake failed while running sub-net s50; see the server's log"
    assert str(fault.__cause__) == "poisoned"
    assert [attempt.batch.examples for attempt in runs] == [3, 1, 1, 1]
    assert [str(run.error) for run in runs] == ["poisoned", "None", "poisoned", "None"]
    assert [answer(endings[i]).outputs[0, 0] for i in (0, 2)] == [1.0, 3.0]


def test_a_request_whose_own_inputs_overflow_is_refused_alone() -> None:
    program = FakeProgram(FakeClock(), garbage=3.0)
    _, endings = executor(program).run(job(program.clock, [1.0], [2.0, 3.0]))
    assert program.batches[0] == [1.0, 2.0, 3.0]
    assert len(program.batches) == 2, "nothing is run again but the self-check"
    assert [ending.outcome for ending in endings] == [Outcome.OK, Outcome.INVALID]
    fault = endings[1].error
    assert isinstance(fault, InputOverflow)
    assert str(fault).startswith("example 1: its inputs make sub-net s50 overflow")


def test_a_program_that_answers_any_input_with_nan_is_at_fault_itself() -> None:
    class Broken(FakeProgram):
        def run(
            self, batch: np.ndarray[tuple[int, ...], np.dtype[np.float32]], /
        ) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
            return np.full((len(batch), 2), np.nan, np.float32)

    _, (ending,) = executor(Broken(FakeClock())).run(job(FakeClock(), [1.0, 2.0]))
    assert isinstance(ending.error, NonFiniteOutput)
    assert ending.outcome is Outcome.FAILED
    assert str(ending.error).startswith("example 0: sub-net s50 answered NaN or infinity, as it does to")


@pytest.mark.parametrize("shape", [(2, 2), (1,), (1, 2, 1)])
def test_outputs_of_the_wrong_shape_are_the_engines_failure(
    shape: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(FakeProgram):
        def run(
            self, batch: np.ndarray[tuple[int, ...], np.dtype[np.float32]], /
        ) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
            return np.zeros(shape, np.float32)

    program = Wrong(FakeClock())
    with caplog.at_level(logging.CRITICAL):
        _, (ending,) = executor(program).run(job(program.clock, [1.0]))
    assert isinstance(ending.error, EngineFailed)


def test_an_ending_resolves_its_future(caplog: pytest.LogCaptureFixture) -> None:
    program = FakeProgram(FakeClock(), poison=2.0)
    with caplog.at_level(logging.CRITICAL):
        _, endings = executor(program).run(job(program.clock, [1.0], [2.0]))
    for ending in endings:
        assert ending.ticket.future.set_running_or_notify_cancel()
        ending.deliver()
    assert endings[0].ticket.future.result(0).outputs.tolist() == [[1, -1]]
    assert isinstance(endings[1].ticket.future.exception(0), EngineFailed)


def test_a_new_profile_brings_its_own_largest_batch() -> None:
    old, new = FakeProgram(FakeClock()), FakeProgram(FakeClock())
    runner = executor(old, max_batch=2)
    runner.adopt(Programs({"s50": {ENGINE: new}}, {ENGINE: "1"}, (), 1), max_batch=3)
    runner.run(job(new.clock, [1.0, 2.0, 3.0, 4.0, 5.0]))
    assert (old.batches, new.batches) == ([], [[1.0, 2.0, 3.0], [4.0, 5.0]])
