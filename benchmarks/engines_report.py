"""Rows of engine races on disk, and what people read of them: a table and a plot."""

from __future__ import annotations

import csv
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

import matplotlib as mpl

from runtime.machine import this_machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

mpl.use("Agg")
from matplotlib import pyplot as plt

OURS, DEEPSPARSE, HALF = "sparse", "deepsparse", "openvino-bf16"
SAME = 0.015
"""Sparsities closer than this are one column."""
Race = tuple[str, str, int, int]


@dataclass(frozen=True)
class Row:
    """One engine on one sub-net: seconds per batch, and multiply-adds a second as a share of sgemm's.

    of_sgemm counts non-zero weights at every pixel, also where they would meet padding and are left out.
    """

    network: str
    allocation: str
    batch: int
    threads: int
    engine: str
    version: str
    sparsity: float
    p50: float
    p10: float
    p90: float
    runs: int
    of_sgemm: float

    @property
    def race(self) -> Race:
        """What it is compared within."""
        return self.network, self.allocation, self.batch, self.threads


def add(folder: Path, rows: Sequence[Row]) -> None:
    """Put rows in place of those of the same races, and draw table and plot of all anew."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "engines.csv"
    races = {row.race for row in rows}
    everything = [row for row in load(path) if row.race not in races] + list(rows)
    everything.sort(
        key=lambda row: (row.threads, row.batch, row.network, row.allocation, row.engine, -row.p50)
    )
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(map(_cells, everything))
    (folder / "engines.md").write_text(page(everything), encoding="utf-8")
    draw(everything, folder / "engines.png")


def _cells(row: Row) -> list[str]:
    return [f"{value:.6g}" if isinstance(value, float) else str(value) for value in astuple(row)]


def load(path: Path) -> list[Row]:
    """The rows in the file; none where there is no file."""
    if not path.exists():
        return []
    kinds = {"str": str, "int": int, "float": float}
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(**{field.name: kinds[str(field.type)](line[field.name]) for field in fields(Row)})
            for line in csv.DictReader(file)
        ]


def best_dense(rows: Iterable[Row]) -> Row:
    """The fastest engine that computes in float32 and is given the densest sub-net."""
    dense = [row for row in rows if row.engine not in {OURS, DEEPSPARSE, HALF}]
    return min(dense, key=lambda row: row.p50)


def summary(rows: Sequence[Row]) -> str:
    """One race for the terminal."""
    best = best_dense(rows)
    lines = [f"{rows[0].network} {rows[0].allocation}, batch {rows[0].batch}, {rows[0].threads} threads"]
    lines += [
        f"  {row.engine:14} {row.sparsity:5.0%} {row.p50 * 1e3:9.3f} ms  x{best.p50 / row.p50:5.2f}"
        f"  {row.of_sgemm:5.1%} of sgemm  {row.runs} runs"
        for row in sorted(rows, key=lambda row: row.p50)
    ]
    return "\n".join(lines)


def page(rows: Sequence[Row]) -> str:
    """All races as Markdown."""
    machine = this_machine(0, {})
    versions = sorted({f"{row.engine} {row.version}" for row in rows})
    sparsities = sorted({round(row.sparsity, 2) for row in rows if row.engine == OURS})
    head = ["network", "masks", "threads", "batch", "best dense fp32", "bf16", "DeepSparse at 90 %"]
    head += [f"ours {sparsity:.0%}" for sparsity in sparsities]
    lines = [
        "# Engines side by side",
        "",
        f"{machine.cpu}, {machine.cores} cores. Median milliseconds of a batch; in brackets, how many times",
        "faster than the best dense fp32 engine of the same race. Blocks of all engines in turn (A B A B);",
        "every result was checked. Written by `python -m benchmarks.engines`; all figures: `engines.csv`.",
        "",
        "Versions: " + ", ".join(versions) + ".",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    races = dict.fromkeys(row.race for row in rows)
    lines += [_line([row for row in rows if row.race == race], sparsities) for race in races]
    return "\n".join(lines) + "\n"


def _line(rows: Sequence[Row], sparsities: Sequence[float]) -> str:
    best = best_dense(rows)
    network, allocation, batch, threads = best.race

    def cell(engine: str, sparsity: float) -> str:
        found = [row for row in rows if row.engine == engine and abs(row.sparsity - sparsity) < SAME]
        return f"{found[0].p50 * 1e3:.3g} ({best.p50 / found[0].p50:.2f}x)" if found else "-"

    cells = [network, allocation, str(threads), str(batch), f"{best.p50 * 1e3:.3g} ({best.engine})"]
    cells += [cell(HALF, 0.0), cell(DEEPSPARSE, 0.9), *(cell(OURS, sparsity) for sparsity in sparsities)]
    return "| " + " | ".join(cells) + " |"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Times faster than the best dense fp32 engine against sparsity, one line for each race."""
    races = list(dict.fromkeys(row.race for row in rows))
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for index, race in enumerate(races):
        within = [row for row in rows if row.race == race]
        best = best_dense(within)
        ours = sorted((row.sparsity, best.p50 / row.p50) for row in within if row.engine == OURS)
        network, allocation, batch, threads = race
        label = f"{network} {allocation}, batch {batch}, {threads} threads"
        axes.plot(*zip(*ours, strict=True), marker="o", color=f"C{index % 10}", label=label)
    axes.axhline(1, color="grey", linewidth=1)
    axes.set(yscale="log", xlabel="sparsity", ylabel="times faster than the best dense fp32 engine")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left")
    figure.savefig(path, dpi=150)
    plt.close(figure)
