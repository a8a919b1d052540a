"""The observer protocol: what the scheduler reports about requests, batches and background work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from downshift.runtime.request import Request
    from downshift.runtime.scheduling.lifecycle import Batch, Settled


class Observer(Protocol):
    """Receives every event, on the thread that causes it, outside all locks; must be cheap and thread-safe.

    An exception it raises is logged and otherwise ignored.
    """

    def accepted(self, request: Request) -> None:
        """A request entered the queue; its one `settled` may come earlier, from another thread."""
        ...

    def rejected(self, request: Request, error: Exception) -> None:
        """Admission control refused a request; nothing else follows."""
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
        """Background tuning has completed that fraction; `text` is for people."""
        ...

    def unfit(self, subnet: str, engine: str) -> None:
        """A tuned program computed something else than the sub-net's export and was not swapped in."""
        ...

    def retired(self, subnet: str, engine: str) -> None:
        """A program went out of service, as its device had failed again and again."""
        ...


class NullObserver:
    """Base of observers of some events only: the inherited methods do nothing, and are never called."""

    def accepted(self, request: Request) -> None:
        """Do nothing."""

    def rejected(self, request: Request, error: Exception) -> None:
        """Do nothing."""

    def started(self, batch: Batch) -> None:
        """Do nothing."""

    def finished(self, batch: Batch, seconds: float, error: Exception | None) -> None:
        """Do nothing."""

    def settled(self, event: Settled) -> None:
        """Do nothing."""

    def improved(self, fraction: float, text: str) -> None:
        """Do nothing."""

    def unfit(self, subnet: str, engine: str) -> None:
        """Do nothing."""

    def retired(self, subnet: str, engine: str) -> None:
        """Do nothing."""
