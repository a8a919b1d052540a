"""Progress of a training run: a bar with the time left and every sub-net's latest validation accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType


class TrainingBar:
    """A `trainer.progress.Reporter`: a live bar on a terminal, else one plain line for each evaluation."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None)
        self._done = 0
        self._total = 0

    def begin(self, done: int, total: int) -> None:
        """Show `done` of `total` steps."""
        self._done, self._total = done, total
        self._progress.update(self._task, total=total, completed=done)

    def step(self) -> None:
        """Advance by one step."""
        self._done += 1
        self._progress.advance(self._task)

    def evaluated(self, accuracies: Mapping[str, float]) -> None:
        """Show the latest validation accuracies."""
        text = "  ".join(f"{name} {value:.1%}" for name, value in accuracies.items())
        self._progress.update(self._task, description=text)
        if not self._console.is_terminal:
            self._console.print(f"step {self._done}/{self._total}  {text}", highlight=False)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False)

    def __enter__(self) -> TrainingBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
