"""Progress of a training run, for whoever started it; the command line draws a bar from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Reporter(Protocol):
    """Receives the progress of a run."""

    def begin(self, done: int, total: int) -> None:
        """The run starts, or is resumed, with `done` of `total` steps taken."""

    def step(self) -> None:
        """One more step is done."""

    def evaluated(self, accuracies: Mapping[str, float]) -> None:
        """Validation accuracy of every sub-net, ratios."""

    def say(self, text: str) -> None:
        """A message of one line."""


class NullReporter:
    """Reports nothing: other workers, and tests."""

    def begin(self, done: int, total: int) -> None:
        """Ignored."""

    def step(self) -> None:
        """Ignored."""

    def evaluated(self, accuracies: Mapping[str, float]) -> None:
        """Ignored."""

    def say(self, text: str) -> None:
        """Ignored."""
