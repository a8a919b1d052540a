"""Rows of the server comparison on disk, and what people read of them: a table and a plot."""

from __future__ import annotations

import csv
import math
import statistics
import textwrap
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import onnxruntime as ort

from benchmarks.harness.stacks import BUDGET_MS, OURS, RIVALS
from downshift.runtime.machine import this_machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

mpl.use("Agg")
from matplotlib import pyplot as plt

RESULTS = Path(__file__).parents[1] / "results" / "server"
DENSE, JSON, SPARSE = (stack.name for stack in OURS)
GOALS = {"LitServe": 2.0, "MLServer": 3.0, "BentoML": 2.0, "Ray Serve": 3.0, "Mosec": 0.9}
"""How many times each one's throughput ours should be."""
JSON_RIVALS = {"MLServer", "BentoML"}


@dataclass(frozen=True)
class Row:
    """One server at one concurrency in one round.

    throughput: right answers a second. p50, p99: seconds. refused: answers other than 200. answers: right
    ones. server_cpu, client_cpu: cores kept busy by the server's processes and by the client. others: the
    share of the machine that anybody else took. accuracy: mean over the answers. subnets: who gave how many.
    """

    network: str
    server: str
    version: str
    concurrency: int
    turn: int
    throughput: float
    p50: float
    p99: float
    refused: int
    answers: int
    server_cpu: float
    client_cpu: float
    others: float
    accuracy: float
    subnets: str


def line(row: Row) -> str:
    """One row for the terminal."""
    return (
        f"{row.server:24} {row.concurrency:3}  {row.throughput:8.1f}/s  p50 {row.p50 * 1e3:8.2f} ms  "
        f"p99 {row.p99 * 1e3:8.2f} ms  cores {row.server_cpu:.2f} + {row.client_cpu:.2f}  "
        f"others {row.others:.0%}  refused {row.refused}  {row.subnets}"
    )


def add(folder: Path, rows: Sequence[Row]) -> None:
    """Put rows in place of those of the same network and server, and draw table and plot of all anew."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "throughput.csv"
    measured = {(row.network, row.server) for row in rows}
    everything = [row for row in load(path) if (row.network, row.server) not in measured] + list(rows)
    everything.sort(key=lambda row: (row.network, row.concurrency, row.server, row.turn))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        for row in everything:
            writer.writerow(
                f"{value:.6g}" if isinstance(value, float) else value for value in asdict(row).values()
            )
    (folder / "throughput.md").write_text(page(everything), encoding="utf-8")
    draw(everything, folder / "throughput.png")


def load(path: Path) -> list[Row]:
    """The rows in the file; none where there is no file."""
    if not path.exists():
        return []
    kinds = {"str": str, "int": int, "float": float}
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(**{field.name: kinds[str(field.type)](each[field.name]) for field in fields(Row)})
            for each in csv.DictReader(file)
        ]


def median(rows: Iterable[Row], server: str, figure: str) -> float:
    """The median over all rounds of that server's figure; NaN where it was not measured."""
    values = [getattr(row, figure) for row in rows if row.server == server]
    return statistics.median(values) if values else math.nan


def page(rows: Sequence[Row]) -> str:
    """All comparisons as Markdown."""
    machine = this_machine(0, {})
    versions = sorted({f"{row.server} {row.version}" for row in rows})
    lines = [
        "# Servers side by side",
        "",
        *textwrap.wrap(
            f"{machine.cpu}, {machine.cores} cores, shared by server and client; one thread for inference, "
            f"one image a request, onnxruntime {ort.__version__}. Right answers a second, median of rounds "
            "(A B A B), latency in milliseconds. Every answer was compared with the model's logits. "
            f"Everybody runs the densest sub-net on onnxruntime, `{DENSE}` too: only the serving differs; "
            f"`{SPARSE}` is our server as it is: the sparse engine, the sub-net chosen within a budget of "
            f"{BUDGET_MS} ms. x: how many times the other's throughput `{DENSE}` has, or `{JSON}` where the "
            "other takes JSON, with the goal. Cores: the most that the server's processes kept busy. Written "
            "by `make bench-server`; all figures: `throughput.csv`.",
            100,
        ),
        "",
        "Versions: " + ", ".join(versions) + ".",
    ]
    for network in dict.fromkeys(row.network for row in rows):
        lines += ["", f"## {network}", ""]
        lines += _table([row for row in rows if row.network == network])
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    levels = sorted({row.concurrency for row in rows})
    head = ["server", *(f"{n} at once: a second (p50, p99 ms)" for n in levels), "cores", "refused"]
    head += [f"x at {n}" for n in levels] + ["goal", f"x at {levels[-1]}, sparse"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    known = [stack.name for stack in (*OURS, *RIVALS)]
    for server in [name for name in known if any(row.server == name for row in rows)]:
        cells = [server]
        for level in levels:
            within = [row for row in rows if row.concurrency == level]
            p50, p99 = (median(within, server, figure) * 1e3 for figure in ("p50", "p99"))
            cells.append(f"{median(within, server, 'throughput'):.0f} ({p50:.2f}, {p99:.2f})")
        own = [row for row in rows if row.server == server]
        cells += [f"{max(row.server_cpu for row in own):.1f}", str(sum(row.refused for row in own))]
        rival = server in {stack.name for stack in RIVALS}
        mine = JSON if server in JSON_RIVALS else DENSE
        cells += [f"{ratio(rows, mine, server, level):.2f}" if rival else "" for level in levels]
        cells += [f"{GOALS[server]:g}" if server in GOALS else ""]
        cells += [f"{ratio(rows, SPARSE, server, levels[-1]):.2f}" if rival else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def ratio(rows: Iterable[Row], mine: str, other: str, concurrency: int) -> float:
    """How many times the other's throughput mine is."""
    within = [row for row in rows if row.concurrency == concurrency]
    return median(within, mine, "throughput") / median(within, other, "throughput")


def draw(rows: Sequence[Row], path: Path) -> None:
    """Throughput at each concurrency, one panel for each network."""
    networks = list(dict.fromkeys(row.network for row in rows))
    figure, panels = plt.subplots(1, len(networks), figsize=(6.5 * len(networks), 4.5), layout="constrained")
    for panel, network in zip(panels if len(networks) > 1 else [panels], networks, strict=True):
        within = [row for row in rows if row.network == network]
        levels = sorted({row.concurrency for row in within})
        known = [stack.name for stack in (*OURS, *RIVALS)]
        servers = [name for name in known if any(row.server == name for row in within)]
        width = 0.8 / len(servers)
        for index, server in enumerate(servers):
            heights = [
                median([row for row in within if row.concurrency == level], server, "throughput")
                for level in levels
            ]
            places = [place + (index - len(servers) / 2) * width for place in range(len(levels))]
            panel.bar(places, heights, width, label=server, color=f"C{index % 10}")
        panel.set(
            title=network, ylabel="right answers a second", xlabel="concurrent requests", yscale="log",
            xticks=range(len(levels)), xticklabels=levels,
        )  # fmt: skip
        panel.grid(axis="y", alpha=0.3)
        panel.set_axisbelow(True)
    panels_first = panels[0] if len(networks) > 1 else panels
    panels_first.legend(fontsize=7)
    figure.savefig(path, dpi=150)
    plt.close(figure)
