"""Rows of engine races, and what people read of them: tables and a plot."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from benchmarks.harness.random_artifact import SPARSITIES
from benchmarks.harness.report import panels, table, write_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from matplotlib.figure import Figure

    from benchmarks.harness.report import Report

OURS, OURS_INT8 = "sparse", "sparse-int8"
DEEPSPARSE, HALF, COMPILED = "deepsparse", "openvino-bf16", "torch.compile"
INT8 = ("onnxruntime-int8", "openvino-int8")
SAME = 0.015
"""A sparsity this near to a level that was asked for is shown as that level: channels are few and whole."""
COLUMNS = 3
Race = tuple[str, str, int, int]


@dataclass(frozen=True)
class Row:
    """One engine on one sub-net: seconds per batch, and multiply-adds a second as a share of the peak.

    of_peak: of float32 multiply-adds on that many cores, in int8 too, counting non-zero weights at every
    pixel, also where they would meet padding and are left out. others: share of the machine that others took
    meanwhile.
    """

    network: str
    masks: str
    batch: int
    threads: int
    engine: str
    version: str
    sparsity: float
    p50: float
    p10: float
    p90: float
    runs: int
    of_peak: float
    others: float

    @property
    def race(self) -> Race:
        """What it is compared within."""
        return self.network, self.masks, self.batch, self.threads


def add(report: Report, rows: Sequence[Row]) -> None:
    """Put rows in place of those of the same races; make page and plot anew from all of them."""
    everything = report.csv(rows, Row, lambda row: row.race)
    everything.sort(key=lambda row: (row.threads, row.batch, row.network, row.masks, row.engine, -row.p50))
    write_csv(report.folder / f"{report.name}.csv", everything)
    report.figure(draw(everything))
    report.markdown(
        "Engines side by side",
        "Blocks of all engines in turn (A B A B), every result checked. All figures, and the share of the "
        f"machine that others took (at most {max(row.others for row in everything):.1%}): `engines.csv`. "
        "All races: `python -m benchmarks.engines.matrix`.",
        page(everything),
    )


def best_dense(rows: Iterable[Row], but: AbstractSet[str] = frozenset()) -> Row:
    """The fastest engine on the densest sub-net, in any precision; DeepSparse only where it skips no zeros.

    but: engines that are left out beside ours.
    """
    rows = list(rows)
    densest = min(row.sparsity for row in rows)
    dense = [
        row
        for row in rows
        if row.engine not in {OURS, OURS_INT8, *but}
        and row.sparsity == densest
        and (row.engine != DEEPSPARSE or densest < SAME)
    ]
    return min(dense, key=lambda row: row.p50)


def best_dense_fp32(rows: Iterable[Row]) -> Row:
    """As `best_dense`, in float32."""
    return best_dense(rows, {HALF, *INT8})


def summary(rows: Sequence[Row]) -> str:
    """One race for the terminal."""
    best = best_dense(rows)
    lines = [
        f"{rows[0].network} {rows[0].masks}, batch {rows[0].batch}, {rows[0].threads} threads; "
        f"others took {rows[0].others:.1%}"
    ]
    lines += [
        f"  {row.engine:14} {row.sparsity:5.0%} {row.p50 * 1e3:9.3f} ms  x{best.p50 / row.p50:5.2f}"
        f"  {row.of_peak:5.1%} of peak  {row.runs} runs"
        for row in sorted(rows, key=lambda row: row.p50)
    ]
    return "\n".join(lines)


def page(rows: Sequence[Row]) -> list[str]:
    """Tables of latency, of narrower networks and of the share of the peak."""
    versions = sorted({f"{row.engine} {row.version}" for row in rows})
    sparsities = sorted({level(row.sparsity) for row in rows if row.engine == OURS})
    ours = [f"ours {sparsity:.0%}" for sparsity in sparsities]
    int8 = [f"int8 {sparsity:.0%}" for sparsity in sparsities]
    rivals = ["best dense", "fp32", "bf16", "int8", "torch.compile", "DeepSparse at 90 %"]
    race = ["network", "masks", "threads", "batch"]
    races = dict.fromkeys(row.race for row in rows)
    within = [[row for row in rows if row.race == race] for race in races]
    return [
        "Versions: " + ", ".join(versions) + ".",
        "",
        "## Latency",
        "",
        "Median milliseconds of a batch; in brackets, how many times faster than the best dense engine of",
        "any precision in the same race. Columns are named after the sparsity that was asked for; with",
        "whole channels it is a little more or less. Ours in float32, then ours in int8.",
        "",
        *table([*race, *rivals, *ours, *int8], [_latencies(one, sparsities) for one in within]),
        "",
        *_channels(within),
        "## Share of the peak",
        "",
        "Multiply-adds of non-zero weights a second, as a share of the float32 multiply-adds the cores",
        "can do at most (`benchmarks/engines/fma.cpp`).",
        "",
        *table([*race, "best dense fp32", *ours], [_shares(one, sparsities) for one in within]),
    ]


def _race(row: Row) -> list[str]:
    return [row.network, row.masks, str(row.threads), str(row.batch)]


def level(sparsity: float) -> float:
    """The sparsity that was asked for, where one of the usual is near; else to whole percents."""
    nearest = min(SPARSITIES, key=lambda usual: abs(usual - sparsity))
    return nearest if abs(nearest - sparsity) < SAME else round(sparsity, 2)


def _cell(rows: Sequence[Row], engine: str, sparsity: float, text: Callable[[Row], str]) -> str:
    found = [row for row in rows if row.engine == engine and level(row.sparsity) == level(sparsity)]
    return text(found[0]) if found else "-"


def _latencies(rows: Sequence[Row], sparsities: Sequence[float]) -> list[str]:
    best, densest = best_dense(rows), min(row.sparsity for row in rows)

    int8 = [row for row in rows if row.engine in INT8 and row.sparsity == densest]

    def text(row: Row) -> str:
        return f"{row.p50 * 1e3:.3g} ({best.p50 / row.p50:.2f}x)"

    return [
        *_race(best),
        f"{best.p50 * 1e3:.3g} ({best.engine})",
        text(best_dense_fp32(rows)),
        _cell(rows, HALF, densest, text),
        text(min(int8, key=lambda row: row.p50)) if int8 else "-",
        _cell(rows, COMPILED, densest, text),
        _cell(rows, DEEPSPARSE, 0.9, text),
        *(_cell(rows, OURS, sparsity, text) for sparsity in sparsities),
        *(_cell(rows, OURS_INT8, sparsity, text) for sparsity in sparsities),
    ]


def _shares(rows: Sequence[Row], sparsities: Sequence[float]) -> list[str]:
    best = best_dense_fp32(rows)
    return [
        *_race(best),
        f"{best.of_peak:.0%}",
        *(_cell(rows, OURS, sparsity, lambda row: f"{row.of_peak:.0%}") for sparsity in sparsities),
    ]


def _channels(races: Iterable[Sequence[Row]]) -> list[str]:
    """Every engine at every sparsity, for the races where whole channels are removed."""
    lines = []
    for rows in races:
        engines = dict.fromkeys(row.engine for row in rows)
        if rows[0].masks == "channel":
            for sparsity in sorted({row.sparsity for row in rows}):
                at = [_cell(rows, one, sparsity, lambda row: f"{row.p50 * 1e3:.3g}") for one in engines]
                lines.append([*_race(rows[0]), f"{sparsity:.0%}", *at])
            head = ["network", "masks", "threads", "batch", "sparsity", *engines]
    if not lines:
        return []
    return [
        "## Whole channels removed",
        "",
        "Milliseconds of every engine on the network that is left, widths multiples of 16.",
        "",
        *table(head, lines),
        "",
    ]


def draw(rows: Sequence[Row]) -> Figure:
    """Times faster than the best dense engine against sparsity, in our faster precision."""
    networks = list(dict.fromkeys(row.network for row in rows))
    masks = dict.fromkeys(row.masks for row in rows)
    styles = dict(zip(masks, cycle(("-", "--", ":", "-.", (0, (1, 3)), (0, (6, 2)), (0, (3, 1, 1, 1))))))
    kinds = sorted({(row.threads, row.batch) for row in rows})
    figure, grid = panels(-(-len(kinds) // COLUMNS), COLUMNS, size=(5.0, 4.0))
    for axes in grid[len(kinds) :]:
        axes.axis("off")
    for axes, kind in zip(grid, kinds, strict=False):
        inside = [row for row in rows if (row.threads, row.batch) == kind]
        for race in dict.fromkeys(row.race for row in inside):
            within = [row for row in inside if row.race == race]
            best = best_dense(within)
            fastest: dict[float, float] = {}
            for row in within:
                if row.engine in {OURS, OURS_INT8}:
                    fastest[row.sparsity] = max(fastest.get(row.sparsity, 0.0), best.p50 / row.p50)
            ours = sorted(fastest.items())
            network, pattern, *_ = race
            axes.plot(
                [sparsity for sparsity, _ in ours],
                [times for _, times in ours],
                marker=".",
                color=f"C{networks.index(network) % 10}",
                linestyle=styles[pattern],
                label=f"{network}, {pattern}",
            )
        axes.axhline(1, color="grey", linewidth=1)
        axes.set(yscale="log", title=f"batch {kind[1]}, {kind[0]} threads", xlabel="sparsity")
        axes.legend(fontsize=6, loc="upper left")
    figure.supylabel("times faster than the best dense engine of any precision")
    return figure
