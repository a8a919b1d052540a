"""Text for people: a progress bar on stderr, tables and percentages on stdout."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

WIDE = 200  # columns of a table that goes into a pipe, where nothing may be cut off


@contextmanager
def progress_bar() -> Iterator[Callable[[float, str], None]]:
    """A bar on stderr, updated with the finished fraction in [0, 1] and a text; removed at the end.

    Prints nothing where stderr is no terminal.
    """
    console = Console(stderr=True)
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=1.0)

        def report(fraction: float, text: str) -> None:
            progress.update(task, completed=fraction, description=text)

        yield report


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print rows under columns: the first column left-aligned, the others right-aligned."""
    table = Table(box=SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else WIDE, highlight=False).print(table)


def percent(ratio: float | None, error: float | None = None) -> str:
    """`91.25 %` for 0.9125; `91.25 ± 0.40 %` with the standard error 0.004; `unknown` for None."""
    if ratio is None:
        return "unknown"
    return f"{100 * ratio:.2f} %" if error is None else f"{100 * ratio:.2f} ± {100 * error:.2f} %"
