"""The stages of an accepted request: a ticket in the queue, one of a batch, settled with one outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.runtime.errors import InvalidRequest
from downshift.runtime.request import Outcome
from downshift.runtime.scheduling.policy import Waiting

if TYPE_CHECKING:
    from concurrent.futures import Future

    from downshift.runtime.errors import RuntimeFault
    from downshift.runtime.request import Answer, Request
    from downshift.runtime.scheduling.policy import Reason


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Ticket(Waiting):
    """An accepted request in the queue, with the future that its client holds.

    due: monotonic seconds after which the answer is late; `deadline`, which decisions use, is earlier by the
    delivery reserve.
    """

    request: Request
    future: Future[Answer]
    due: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Batch:
    """Tickets that left the queue together, to be run by one program of one engine.

    examples: inputs of all tickets. started: monotonic seconds. expected_seconds: the profile's p50.
    executor: the number of the one that runs it.
    """

    tickets: tuple[Ticket, ...]
    examples: int
    subnet: str
    engine: str
    reason: Reason
    started: float
    expected_seconds: float
    executor: int = 0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Settled:
    """The one outcome of a ticket; whoever holds it delivers it exactly once, outside all locks.

    subnet, engine: None when it was never executed. Seconds are 0.0 for a phase that never began.
    error: what the future raises. Neither answer nor error: the client cancelled.
    """

    ticket: Ticket
    outcome: Outcome
    queue_seconds: float
    compute_seconds: float = 0.0
    subnet: str | None = None
    engine: str | None = None
    error: RuntimeFault | None = None
    answer: Answer | None = None

    def deliver(self) -> None:
        """Resolve the client's future; its callbacks run on this thread."""
        if self.answer is not None:
            self.ticket.future.set_result(self.answer)
        elif self.error is not None:
            self.ticket.future.set_exception(self.error)


def unexecuted(ticket: Ticket, outcome: Outcome, now: float, error: RuntimeFault | None = None) -> Settled:
    """The outcome of a ticket that left the queue without being run."""
    return Settled(ticket=ticket, outcome=outcome, queue_seconds=now - ticket.arrival, error=error)


def answered(ticket: Ticket, batch: Batch, answer: Answer) -> Settled:
    """The outcome of a ticket whose answer is there: in time or late."""
    return Settled(
        ticket=ticket,
        outcome=Outcome.LATE if answer.late else Outcome.OK,
        queue_seconds=answer.queue_seconds,
        compute_seconds=answer.compute_seconds,
        subnet=batch.subnet,
        engine=batch.engine,
        answer=answer,
    )


def failed(ticket: Ticket, batch: Batch, seconds: float, error: RuntimeFault) -> Settled:
    """The outcome of a ticket that was run without an answer: its own inputs' fault, or ours."""
    return Settled(
        ticket=ticket,
        outcome=Outcome.INVALID if isinstance(error, InvalidRequest) else Outcome.FAILED,
        queue_seconds=batch.started - ticket.arrival,
        compute_seconds=seconds,
        subnet=batch.subnet,
        engine=batch.engine,
        error=error,
    )
