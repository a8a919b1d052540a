"""Traces from files: the Azure LLM inference CSVs, requests per second, or plain arrival times."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.errors import TraceError
from downshift.runtime.simulator.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray


def read(path: Path) -> Trace:
    """The trace in a text file; the first line decides the format:

    - `TIMESTAMP,...`: one arrival per line as date and time, as in the Azure LLM inference trace 2023;
    - `count` or `second,count`: arrivals in each second, spread evenly over it;
    - a number: one arrival per line, in seconds, ascending.

    Raises `TraceError` naming the line, or `OSError`.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: not a text file ({error.reason}); give arrival times as text") from error
    first = lines[0].split(",") if lines else [""]
    header = [cell.strip().lower() for cell in first]
    if header[0] == "timestamp":
        times = _column(path, lines[1:], 0, _clock_time, skipped=1)
        return _from_times(path, times - times[0] if len(times) else times)
    if header[-1] == "count":
        return _from_counts(path, _column(path, lines[1:], len(header) - 1, _count, skipped=1))
    return _from_times(path, _column(path, lines, 0, float, skipped=0))


def _from_times(path: Path, times: NDArray[np.float64]) -> Trace:
    last = float(times[-1]) if len(times) else 0.0
    return Trace(str(path), times, max(last, np.finfo(float).tiny))


def _from_counts(path: Path, counts: NDArray[np.float64]) -> Trace:
    parts = [second + (np.arange(n) + 0.5) / n for second, n in enumerate(counts.astype(int)) if n]
    return Trace(str(path), np.concatenate(parts) if parts else np.empty(0), float(len(counts)))


def _column(
    path: Path, lines: Iterable[str], column: int, parse: Callable[[str], float], *, skipped: int
) -> NDArray[np.float64]:
    values = []
    for number, line in enumerate(lines, start=skipped + 1):
        if not line.strip():
            continue
        cells = line.split(",")
        try:
            values.append(parse(cells[column].strip()))
        except (ValueError, IndexError):
            raise TraceError(
                f"{path}, line {number}: {line[:60]!r} has no time or count in column {column + 1}; "
                "correct or remove the line"
            ) from None
    return np.array(values, dtype=np.float64)


def _clock_time(text: str) -> float:
    """Seconds since the epoch of a date and time in UTC, with a fraction of any number of digits."""
    whole, _, fraction = text.partition(".")
    moment = datetime.strptime(f"{whole} +0000", "%Y-%m-%d %H:%M:%S %z")
    return moment.timestamp() + (float(f"0.{fraction}") if fraction else 0.0)


def _count(text: str) -> float:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value
