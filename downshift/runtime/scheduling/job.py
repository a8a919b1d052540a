"""What leaves the queue: a ticket per accepted request, a job per batch, an ending per ticket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.runtime.errors import InvalidRequest
from downshift.runtime.scheduling.observer import Batch, Outcome, Settled
from downshift.runtime.scheduling.policy import Waiting

if TYPE_CHECKING:
    from concurrent.futures import Future

    from downshift.runtime.errors import RuntimeFault
    from downshift.runtime.request import Answer, Request
    from downshift.runtime.scheduling.policy import Reason


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Ticket(Waiting):
    """An accepted request, as it waits, and the future that its client holds.

    due: after that its answer is late; `deadline` is earlier by the time that delivery takes.
    """

    request: Request
    future: Future[Answer]
    due: float


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A batch out of the queue, to be run by one program; started in monotonic seconds."""

    tickets: tuple[Ticket, ...]
    subnet: str
    engine: str
    reason: Reason
    started: float
    expected_seconds: float

    @property
    def examples(self) -> int:
        """Inputs in the whole batch."""
        return sum(ticket.examples for ticket in self.tickets)

    @property
    def batch(self) -> Batch:
        """The job as observers see it."""
        return Batch(
            self.subnet, self.engine, self.reason, len(self.tickets), self.examples, self.expected_seconds
        )


@dataclass(frozen=True, slots=True, eq=False)
class Ending:
    """The one outcome of a ticket. Whoever holds it delivers it exactly once, outside all locks."""

    ticket: Ticket
    event: Settled
    answer: Answer | None = None

    def deliver(self) -> None:
        """Resolve the client's future; its callbacks run on this thread."""
        if self.answer is not None:
            self.ticket.future.set_result(self.answer)
        elif self.event.error is not None:
            self.ticket.future.set_exception(self.event.error)


def unexecuted(ticket: Ticket, outcome: Outcome, now: float, error: RuntimeFault | None = None) -> Ending:
    """The ending of a ticket that left the queue without being run."""
    event = Settled(ticket.request, outcome, None, None, now - ticket.arrival, 0.0, error)
    return Ending(ticket, event)


def answered(ticket: Ticket, job: Job, answer: Answer) -> Ending:
    """The ending of a ticket whose answer is there."""
    outcome = Outcome.LATE if answer.late else Outcome.OK
    event = Settled(
        ticket.request, outcome, job.subnet, job.engine, answer.queue_seconds, answer.compute_seconds, None
    )
    return Ending(ticket, event, answer)


def failed(ticket: Ticket, job: Job, seconds: float, error: RuntimeFault) -> Ending:
    """The ending of a ticket that was run without an answer."""
    waited = job.started - ticket.arrival
    outcome = Outcome.INVALID if isinstance(error, InvalidRequest) else Outcome.FAILED
    event = Settled(ticket.request, outcome, job.subnet, job.engine, waited, seconds, error)
    return Ending(ticket, event)
