"""Executes a batch: gathers its inputs, runs one program, settles every ticket."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.errors import EngineFailed, InputOverflow, NonFiniteOutput
from downshift.runtime.profiling.self_check import answers_finite
from downshift.runtime.request import Answer
from downshift.runtime.scheduling.lifecycle import Batch, Settled, Ticket, answered, failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.models.spec import Manifest
    from downshift.runtime.clock import Clock
    from downshift.runtime.engines.engine import Program
    from downshift.runtime.engines.programs import Programs
    from downshift.runtime.request import FloatArray

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """One execution of a batch: seconds in the engine, and its exception, if any."""

    batch: Batch
    seconds: float
    error: Exception | None


class InputBuffer:
    """A reusable buffer that gathers the inputs of a batch; the next batch overwrites it.

    Copies through a memoryview, which keeps the GIL. numpy releases it for every copy and must reacquire it
    from a busy event loop, which took ten times as long as the copy, or 5 % of a batch.
    """

    def __init__(self) -> None:
        self._memory = np.empty((0,), np.float32)

    def gather(self, inputs: Sequence[FloatArray]) -> FloatArray:
        """The inputs, each float32 [n, C, H, W], as one C-contiguous array; valid until the next call.

        A single one is copied only if it is not contiguous.
        """
        if len(inputs) == 1:
            return np.ascontiguousarray(inputs[0])
        examples, shape = sum(map(len, inputs)), inputs[0].shape[1:]
        if self._memory.shape[1:] != shape or len(self._memory) < examples:
            self._memory = np.empty((examples, *shape), np.float32)
        memory, begin = self._memory.data.cast("B"), 0
        for each in inputs:
            part = np.ascontiguousarray(each, np.float32).data.cast("B")
            memory[begin : begin + len(part)] = part
            begin += len(part)
        return self._memory[:examples]


class Executor:
    """Runs batches on compiled programs, `max_batch` examples at a time. Used by one thread at a time."""

    def __init__(self, manifest: Manifest, programs: Programs, *, max_batch: int, clock: Clock) -> None:
        self._manifest = manifest
        self._points = {point.name: point for point in manifest.points}
        self._programs = programs
        self._max_batch = max_batch
        self._clock = clock
        self._inputs = InputBuffer()

    def adopt(self, programs: Programs, max_batch: int) -> None:
        """Use these programs from the next batch on, at most `max_batch` examples at a time."""
        self._programs, self._max_batch = programs, max_batch

    def run(self, batch: Batch) -> tuple[list[Attempt], list[Settled]]:
        """All attempts, and one outcome per ticket of the batch; raises nothing.

        Fault isolation: when the engine fails on a batch, its requests are retried one by one, so that only
        the offending one fails. Non-finite outputs fail only the request they belong to.
        """
        program = self._programs.by_subnet[batch.subnet][batch.engine]
        begin = self._clock.now()
        try:
            inputs = self._inputs.gather([ticket.request.inputs for ticket in batch.tickets])
            outputs = _in_chunks(program, inputs, self._max_batch)
        except Exception as error:  # an engine is foreign code: whatever it raises fails this batch only
            seconds = self._clock.now() - begin
            log.exception(
                "engine %s failed on sub-net %s, batch of %d", batch.engine, batch.subnet, batch.examples
            )
            first = Attempt(batch, seconds, error)
            if len(batch.tickets) == 1:
                fault = EngineFailed(batch.engine, batch.subnet)
                fault.__cause__ = error
                return [first], [failed(batch.tickets[0], batch, seconds, fault)]
            alone = [
                self.run(replace(batch, tickets=(ticket,), examples=ticket.examples))
                for ticket in batch.tickets
            ]
            return [first, *(attempt for attempts, _ in alone for attempt in attempts)], [
                settled for _, several in alone for settled in several
            ]
        seconds = self._clock.now() - begin
        return [Attempt(batch, seconds, None)], self._settled(batch, outputs, seconds)

    def _settled(self, batch: Batch, outputs: FloatArray, seconds: float) -> list[Settled]:
        """One outcome per ticket, each with its own rows of the outputs."""
        settled = []
        begin = 0
        settle = self._answered if np.isfinite(outputs).all() else self._checked
        for ticket in batch.tickets:
            rows = outputs[begin : begin + ticket.examples]
            begin += ticket.examples
            settled.append(settle(ticket, batch, rows, seconds))
        return settled

    def _checked(self, ticket: Ticket, batch: Batch, rows: FloatArray, seconds: float) -> Settled:
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            run = self._programs.get(batch.subnet, batch.engine).run
            at_fault = InputOverflow if answers_finite(self._manifest, run) else NonFiniteOutput
            fault = at_fault(int(np.argmin(finite)), batch.subnet)
            return failed(ticket, batch, seconds, fault)
        return self._answered(ticket, batch, rows, seconds)

    def _answered(self, ticket: Ticket, batch: Batch, rows: FloatArray, seconds: float) -> Settled:
        answer = Answer(
            outputs=rows,
            point=self._points[batch.subnet],
            engine=batch.engine,
            queue_seconds=batch.started - ticket.arrival,
            compute_seconds=seconds,
            batch_size=batch.examples,
            late=self._clock.now() > ticket.due,
        )
        return answered(ticket, batch, answer)


def _in_chunks(program: Program, inputs: FloatArray, size: int) -> FloatArray:
    """The program's outputs for any number of inputs, in chunks of at most `size` examples."""
    parts = [program.run(inputs[begin : begin + size]) for begin in range(0, len(inputs), size)]
    outputs = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if outputs.ndim != 2 or len(outputs) != len(inputs):  # noqa: PLR2004 - [n, classes]
        raise ValueError(f"outputs of shape {list(outputs.shape)} for {len(inputs)} examples")
    return outputs
