"""Running a job: one program, all its tickets, and an ending for each of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.errors import EngineFailed, InputOverflow, NonFiniteOutput
from downshift.runtime.profiling.self_check import answers_finite
from downshift.runtime.request import Answer
from downshift.runtime.scheduling.job import Ending, Job, Ticket, answered, failed
from downshift.runtime.scheduling.stack import Stack

if TYPE_CHECKING:
    from downshift.models.spec import Manifest
    from downshift.runtime.clock import Clock
    from downshift.runtime.engines.engine import Program
    from downshift.runtime.engines.programs import Programs
    from downshift.runtime.request import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What one attempt at a batch came to: seconds in the engine, and what it raised, if it did."""

    job: Job
    seconds: float
    error: Exception | None


class Executor:
    """Runs jobs on compiled programs, `max_batch` examples at a time. Used by one thread at a time."""

    def __init__(self, manifest: Manifest, programs: Programs, *, max_batch: int, clock: Clock) -> None:
        self._manifest = manifest
        self._programs = programs
        self._max_batch = max_batch
        self._clock = clock
        self._stack = Stack()

    def adopt(self, programs: Programs, max_batch: int) -> None:
        """Run the next jobs on these programs, at most that many examples at a time."""
        self._programs, self._max_batch = programs, max_batch

    def run(self, job: Job) -> tuple[list[Run], list[Ending]]:
        """Every attempt made, and one ending for each ticket of the job; raises nothing.

        When the engine fails on a batch, its members are run again one by one, so that only the request
        that is the cause fails. Outputs are checked for each request on its own.
        """
        program = self._programs.get(job.subnet, job.engine)
        begin = self._clock.now()
        try:
            batch = self._stack.batch([ticket.request.inputs for ticket in job.tickets])
            outputs = _in_chunks(program, batch, self._max_batch)
        except Exception as error:  # an engine is foreign code: whatever it raises fails this batch only
            seconds = self._clock.now() - begin
            log.exception("engine %s failed on sub-net %s, batch of %d", job.engine, job.subnet, job.examples)
            first = Run(job, seconds, error)
            if len(job.tickets) == 1:
                fault = EngineFailed(job.engine, job.subnet)
                fault.__cause__ = error
                return [first], [failed(job.tickets[0], job, seconds, fault)]
            alone = [self.run(replace(job, tickets=(ticket,))) for ticket in job.tickets]
            return [first, *(run for runs, _ in alone for run in runs)], [
                ending for _, endings in alone for ending in endings
            ]
        seconds = self._clock.now() - begin
        return [Run(job, seconds, None)], self._endings(job, outputs, seconds)

    def _endings(self, job: Job, outputs: Tensor, seconds: float) -> list[Ending]:
        """One ending per ticket, each with its own rows of the outputs."""
        endings = []
        begin = 0
        end = self._ending if np.isfinite(outputs).all() else self._checked
        for ticket in job.tickets:
            rows = outputs[begin : begin + ticket.examples]
            begin += ticket.examples
            endings.append(end(ticket, job, rows, seconds))
        return endings

    def _checked(self, ticket: Ticket, job: Job, rows: Tensor, seconds: float) -> Ending:
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            run = self._programs.get(job.subnet, job.engine).run
            at_fault = InputOverflow if answers_finite(self._manifest, run) else NonFiniteOutput
            fault = at_fault(int(np.argmin(finite)), job.subnet)
            return failed(ticket, job, seconds, fault)
        return self._ending(ticket, job, rows, seconds)

    def _ending(self, ticket: Ticket, job: Job, rows: Tensor, seconds: float) -> Ending:
        answer = Answer(
            outputs=rows,
            subnet=self._manifest.subnet(job.subnet),
            engine=job.engine,
            queue_seconds=job.started - ticket.arrival,
            compute_seconds=seconds,
            batch_size=job.examples,
            late=self._clock.now() > ticket.due,
        )
        return answered(ticket, job, answer)


def _in_chunks(program: Program, batch: Tensor, size: int) -> Tensor:
    """The program's outputs for a batch of any length, computed at most `size` examples at a time."""
    parts = [program.run(batch[begin : begin + size]) for begin in range(0, len(batch), size)]
    outputs = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if outputs.ndim != 2 or len(outputs) != len(batch):  # noqa: PLR2004 - [n, classes]
        raise ValueError(f"outputs of shape {list(outputs.shape)} for {len(batch)} examples")
    return outputs
