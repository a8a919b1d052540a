"""Writes simulation results: a CSV table and two plots."""

from __future__ import annotations

import csv
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from downshift.runtime.simulator.comparison import ORACLE, OURS
from downshift.runtime.simulator.replay import UNANSWERED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from downshift.runtime.simulator.comparison import PolicyResult
    from downshift.runtime.simulator.replay import Replay

BINS = 200  # along the time line


def rows(results: Sequence[PolicyResult]) -> list[dict[str, Any]]:
    """One flat record per result: policy, figures, load."""
    return [{**asdict(result.summary), "load": result.load} for result in results]


def write(folder: Path, results: Sequence[PolicyResult]) -> list[Path]:
    """The files written: results.csv, load.png and, if our policy is among the results, timeline.png.

    Raises `ModuleNotFoundError` without matplotlib, after the table is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "results.csv"
    lines = rows(results)
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    written = [table, draw_load(folder / "load.png", results)]
    ours = [result.replay for result in results if result.summary.policy == OURS and result.replay]
    return [*written, draw_timeline(folder / "timeline.png", ours[-1])] if ours else written


def timeline(replay: Replay, bins: int = BINS) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Requests per second [sub-nets + 1, bins], by arrival time; the last row counts the unanswered."""
    edges = np.linspace(0.0, replay.trace.seconds, bins + 1)
    kinds = [*range(len(replay.profile.names)), UNANSWERED]
    counts = [np.histogram(replay.trace.times[replay.answered_by == kind], edges)[0] for kind in kinds]
    rates: np.ndarray[Any, np.dtype[np.float64]] = np.array(counts) / (edges[1] - edges[0])
    return rates


def draw_load(path: Path, results: Sequence[PolicyResult]) -> Path:
    """Plot attainment and served accuracy over load, a line per policy; returns the path."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an optional dependency

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    titles = {"attainment": "answered in time", "served_accuracy": "accuracy of the answers in time"}
    axes = dict(zip(titles, figure.subplots(1, 2), strict=True))
    for name in dict.fromkeys(result.summary.policy for result in results):
        mine = sorted((r for r in results if r.summary.policy == name), key=lambda result: result.load)
        for field, axis in axes.items():
            values = [getattr(result.summary, field) for result in mine]
            axis.plot(
                [result.load for result in mine],
                [np.nan if value is None else value for value in values],
                marker="o",
                markersize=3,
                linewidth=2.5 if name == OURS else 1.0,
                **({"color": "black", "linestyle": "--"} if name == ORACLE else {}),
                label=name,
            )
    for field, axis in axes.items():
        axis.set(xlabel="load, in capacities of the densest sub-net", ylabel=titles[field])
        axis.grid(alpha=0.3)
    axes["served_accuracy"].legend(fontsize=7)
    figure.savefig(path, dpi=120)
    return path


def draw_timeline(path: Path, replay: Replay) -> Path:
    """Plot the answers of each sub-net over time; returns the path."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an optional dependency

    figure = Figure(figsize=(11, 3.5), layout="constrained")
    axis = figure.subplots()
    values = timeline(replay)
    middle = (np.arange(BINS) + 0.5) * replay.trace.seconds / BINS
    axis.stackplot(middle, values, labels=[*replay.profile.names, "not in time"])
    axis.set(xlabel="seconds", ylabel="requests per second, by sub-net")
    axis.legend(fontsize=7, loc="upper right")
    figure.savefig(path, dpi=120)
    return path
