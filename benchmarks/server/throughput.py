"""How much do others serve over the same model, client and number of threads, and how soon?

    python -m benchmarks.server.throughput cifar-resnet18 --environments .venv/.servers

In every round each server is started, warmed up (ours is tuned first), loaded at every concurrency and
ended, one after the other (A B A B), so that a noisy machine meets them all. Every answer is compared
with the model's logits. Rows go to throughput.csv, one for each round, server and concurrency; earlier
rows of the same network and server are replaced.
"""

from __future__ import annotations

import math
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness.errors import ExperimentError, NotServing, WrongAnswer
from benchmarks.harness.experiment import experiment, served_options
from benchmarks.harness.quiet import disturbance, usage
from benchmarks.harness.report import panels, table
from benchmarks.harness.server import free_port, wait_until_tuned
from benchmarks.harness.settings import prepare
from benchmarks.harness.stacks import BUDGET_MS, OURS, Ours, rivals, started

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Iterator, Sequence

    from matplotlib.figure import Figure

    from benchmarks.harness.report import Report
    from benchmarks.harness.settings import Setting
    from benchmarks.harness.stacks import Stack

CONCURRENCY = (1, 8, 64)
WARM_SECONDS = 0.7
DENSE, JSON, SPARSE = (stack.name for stack in OURS)
RIVALS = tuple(stack.name for stack in rivals(Path()))
SERVERS = (DENSE, JSON, SPARSE, *RIVALS)
JSON_RIVALS = {"MLServer", "BentoML"}
GOALS = {"LitServe": 2.0, "MLServer": 3.0, "BentoML": 2.0, "Ray Serve": 3.0, "Mosec": 0.9}
"""How many times each one's throughput ours should be."""


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

    def __str__(self) -> str:
        return (
            f"{self.server:24} {self.concurrency:3}  {self.throughput:8.1f}/s  p50 {self.p50 * 1e3:8.2f} ms  "
            f"p99 {self.p99 * 1e3:8.2f} ms  cores {self.server_cpu:.2f} + {self.client_cpu:.2f}  "
            f"others {self.others:.0%}  refused {self.refused}  {self.subnets}"
        )


def rows_of(setting: Setting, stack: Stack, seconds: float, turn: int) -> Iterator[Row]:
    """Start the server, load it at every concurrency, end it; raises `NotServing` and `WrongAnswer`."""
    port, version = free_port(), stack.version()
    client = setting.client(stack.wire(setting))
    with started(stack, setting, port, client) as server:
        if isinstance(stack, Ours):
            wait_until_tuned(server)
        for concurrency in CONCURRENCY:
            client.closed_loop(port, concurrency, WARM_SECONDS)
            begin, cpu = usage(), server.cpu_seconds
            load = client.closed_loop(port, concurrency, seconds)
            used, others = server.cpu_seconds - cpu, disturbance(begin)
            subnets = " ".join(f"{name}:{count}" for name, count in sorted(load.subnets.items()) if name)
            yield Row(
                setting.name, stack.name, version, concurrency, turn, load.throughput,
                load.quantile(0.5), load.quantile(0.99), sum(load.refused.values()), len(load.latencies),
                used / load.seconds, load.cpu / load.seconds, others, setting.accuracy(load.subnets), subnets,
            )  # fmt: skip


def median(rows: Iterable[Row], server: str, concurrency: int, figure: str = "throughput") -> float:
    """The median over all rounds of that server's figure; NaN where it was not measured."""
    values = [getattr(row, figure) for row in rows if (row.server, row.concurrency) == (server, concurrency)]
    return statistics.median(values) if values else math.nan


def ratio(rows: Sequence[Row], mine: str, other: str, concurrency: int) -> float:
    """How many times the other's throughput mine is."""
    return median(rows, mine, concurrency) / median(rows, other, concurrency)


def page(rows: Sequence[Row]) -> list[str]:
    """Versions, and a table for each network."""
    lines = ["Versions: " + ", ".join(sorted({f"{row.server} {row.version}" for row in rows})) + "."]
    for network in dict.fromkeys(row.network for row in rows):
        lines += ["", f"## {network}", "", *_table([row for row in rows if row.network == network])]
    return lines


def _table(rows: Sequence[Row]) -> list[str]:
    levels = sorted({row.concurrency for row in rows})
    head = ["server", *(f"{n} at once: a second (p50, p99 ms)" for n in levels), "cores", "refused"]
    head += [f"x at {n}" for n in levels] + ["goal", f"x at {levels[-1]}, sparse"]
    lines = []
    for server in [name for name in SERVERS if any(row.server == name for row in rows)]:
        cells = [server]
        for level in levels:
            p50, p99 = (median(rows, server, level, figure) * 1e3 for figure in ("p50", "p99"))
            cells.append(f"{median(rows, server, level):.0f} ({p50:.2f}, {p99:.2f})")
        own = [row for row in rows if row.server == server]
        cells += [f"{max(row.server_cpu for row in own):.1f}", str(sum(row.refused for row in own))]
        mine = JSON if server in JSON_RIVALS else DENSE
        cells += [f"{ratio(rows, mine, server, level):.2f}" if server in RIVALS else "" for level in levels]
        cells += [f"{GOALS[server]:g}" if server in GOALS else ""]
        cells += [f"{ratio(rows, SPARSE, server, levels[-1]):.2f}" if server in RIVALS else ""]
        lines.append(cells)
    return table(head, lines)


def draw(rows: Sequence[Row]) -> Figure:
    """Throughput at each concurrency, one panel for each network."""
    networks = list(dict.fromkeys(row.network for row in rows))
    figure, axes = panels(1, len(networks), size=(6.5, 3.5))
    for panel, network in zip(axes, networks, strict=True):
        within = [row for row in rows if row.network == network]
        levels = sorted({row.concurrency for row in within})
        servers = [name for name in SERVERS if any(row.server == name for row in within)]
        width = 0.8 / len(servers)
        for index, server in enumerate(servers):
            places = [place + (index - len(servers) / 2) * width for place in range(len(levels))]
            heights = [median(within, server, level) for level in levels]
            panel.bar(places, heights, width, label=server, color=f"C{index % 10}")
        panel.set(
            title=network, ylabel="right answers a second", xlabel="concurrent requests", yscale="log",
            xticks=range(len(levels)), xticklabels=levels,
        )  # fmt: skip
    axes[0].legend(fontsize=7)
    return figure


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    served_options(parser)
    parser.add_argument("--environments", type=Path, required=True, help="folder of the rivals' environments")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="at each concurrency")
    parser.add_argument("--only", nargs="+", choices=SERVERS, metavar="SERVER", help="by default all")


def measure(chosen: Namespace, report: Report) -> None:
    """All servers in every round, then table and picture of all rows in the file."""
    setting = prepare(chosen.network, chosen.cache, chosen.threads)
    everybody: tuple[Stack, ...] = (*OURS, *rivals(chosen.environments))
    rows, failed = [], []
    for turn in range(chosen.rounds):
        for stack in everybody:
            try:
                for row in (
                    rows_of(setting, stack, chosen.seconds, turn) if _takes_part(stack, chosen) else ()
                ):
                    rows.append(row)
                    print(row, flush=True)
            except (NotServing, WrongAnswer, OSError) as reason:
                failed.append(f"{stack.name}: {reason}")
    if rows:
        everything = report.csv(rows, Row, lambda row: (row.network, row.server))
        report.figure(draw(everything))
        report.markdown(
            "Servers side by side",
            "One thread for inference, one image a request; server and client share the cores. Right "
            "answers a second, median of rounds (A B A B), latency in milliseconds. Every answer was "
            "compared with the model's logits. Everybody runs the densest sub-net on onnxruntime, "
            f"`{DENSE}` too: only the serving differs; `{SPARSE}` is our server as it is: the sparse "
            f"engine, the sub-net chosen within a budget of {BUDGET_MS} ms. x: how many times the other's "
            f"throughput `{DENSE}` has, or `{JSON}` where the other takes JSON, with the goal. Cores: the "
            "most that the server's processes kept busy. All figures: `throughput.csv`.",
            page(everything),
        )
    if failed:
        raise ExperimentError("\n".join(failed))


def _takes_part(stack: Stack, chosen: Namespace) -> bool:
    return not chosen.only or stack.name in chosen.only


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
