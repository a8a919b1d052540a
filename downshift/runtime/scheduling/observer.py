"""What the scheduler tells the outside: events, and the protocol of whoever listens to them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from downshift.runtime.errors import RuntimeFault
    from downshift.runtime.request import Request
    from downshift.runtime.scheduling.policy import Reason


class Outcome(StrEnum):
    """How an accepted request ended; exactly one of these each."""

    OK = "ok"
    LATE = "late"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INVALID = "invalid"  # finite inputs so large that the answer is not


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch the executor has taken: `expected_seconds` is the profile's p50 for it."""

    subnet: str
    engine: str
    reason: Reason
    requests: int
    examples: int
    expected_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """The end of an accepted request.

    error: what its future raises; None for an answer or a cancellation.
    subnet, engine: None when it was never executed. Seconds are 0.0 for a phase that never began.
    """

    request: Request
    outcome: Outcome
    subnet: str | None
    engine: str | None
    queue_seconds: float
    compute_seconds: float
    error: RuntimeFault | None


class Observer(Protocol):
    """Hears every event, on whatever thread causes it, outside all locks; must be cheap and thread-safe.

    An exception it raises is logged and otherwise ignored.
    """

    def accepted(self, request: Request) -> None:
        """A request entered the queue; its one `settled` may even come before, from another thread."""
        ...

    def rejected(self, request: Request, error: Exception) -> None:
        """A request was refused at the door; nothing else follows."""
        ...

    def started(self, batch: Batch) -> None:
        """The executor begins a batch."""
        ...

    def finished(self, batch: Batch, seconds: float, error: Exception | None) -> None:
        """The engine has run for `seconds`; `error` is what it raised, if it did."""
        ...

    def settled(self, event: Settled) -> None:
        """An accepted request reached its one outcome."""
        ...

    def improved(self, fraction: float, text: str) -> None:
        """That fraction of what makes programs faster while they serve is done; `text` is for people."""
        ...

    def unfit(self, subnet: str, engine: str) -> None:
        """A tuned program computed something else than the sub-net's export, and was not swapped in."""
        ...


class Silent:
    """An observer that ignores everything; also the base of those that care about some events only."""

    def accepted(self, request: Request) -> None:
        """Ignore it."""

    def rejected(self, request: Request, error: Exception) -> None:
        """Ignore it."""

    def started(self, batch: Batch) -> None:
        """Ignore it."""

    def finished(self, batch: Batch, seconds: float, error: Exception | None) -> None:
        """Ignore it."""

    def settled(self, event: Settled) -> None:
        """Ignore it."""

    def improved(self, fraction: float, text: str) -> None:
        """Ignore it."""

    def unfit(self, subnet: str, engine: str) -> None:
        """Ignore it."""


class Several:
    """Tells every event to each of several observers, in this order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def accepted(self, request: Request) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.accepted(request)

    def rejected(self, request: Request, error: Exception) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.rejected(request, error)

    def started(self, batch: Batch) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.started(batch)

    def finished(self, batch: Batch, seconds: float, error: Exception | None) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.finished(batch, seconds, error)

    def settled(self, event: Settled) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.settled(event)

    def improved(self, fraction: float, text: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.improved(fraction, text)

    def unfit(self, subnet: str, engine: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.unfit(subnet, engine)
