"""The progress observer of a training run; the command line shows it as a bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Reporter(Protocol):
    """Receives the progress of a run."""

    def begin(self, done: int, total: int) -> None:
        """The run starts or resumes with `done` of `total` steps completed."""

    def step(self) -> None:
        """One more step is completed."""

    def evaluated(self, accuracies: Mapping[str, float]) -> None:
        """Validation accuracy of every sub-net, ratios."""

    def say(self, text: str) -> None:
        """A message of one line."""


class NullReporter:
    """Ignores all events: for ranks other than 0, and tests."""

    def begin(self, done: int, total: int) -> None:
        """Ignored."""

    def step(self) -> None:
        """Ignored."""

    def evaluated(self, accuracies: Mapping[str, float]) -> None:
        """Ignored."""

    def say(self, text: str) -> None:
        """Ignored."""
