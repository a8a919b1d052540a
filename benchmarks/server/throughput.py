"""Throughput and latency of our server and of others over the same model, client and number of threads.

In every round each server is started, warmed up, loaded at every concurrency and ended, one after the other
(A B A B), so that a noisy machine meets them all. Every answer is compared with the model's logits. Rows go
to throughput.csv, one for each round, server and concurrency; earlier rows of the same network are replaced.

    python -m benchmarks.server.throughput downshift/models/zoo/cifar10-resnet20.onnx --environments .venv/.x
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import report as server_report
from benchmarks.harness.client import WrongAnswer
from benchmarks.harness.quiet import disturbance, usage
from benchmarks.harness.report import RESULTS, Row
from benchmarks.harness.settings import served
from benchmarks.harness.stacks import OURS, RIVALS, NotServing, free_port, serving
from downshift.models.errors import ModelsError
from downshift.runtime.profiling.profile_cache import default_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.harness.settings import Served
    from benchmarks.harness.stacks import Stack

CONCURRENCY = (1, 8, 64)
WARM_SECONDS = 0.7


def measure(what: Served, stack: Stack, seconds: float, turn: int) -> Iterator[Row]:
    """Start the server, load it at every concurrency, end it."""
    setting, port = what.setting, free_port()
    client = what.client(stack.wire(setting))
    log = setting.folder / f"{stack.name.lower().replace(' ', '-').replace(',', '')}.log"
    environment = stack.environment(setting, port)
    with serving(stack.command(setting, port), port, client, log, environment) as server:
        for concurrency in CONCURRENCY:
            client.run(port, concurrency, WARM_SECONDS)
            alone, cpu = usage(), server.cpu()
            load = client.run(port, concurrency, seconds)
            used, others = server.cpu() - cpu, disturbance(alone)
            accuracy = what.accuracy(load.subnets)
            yield Row(
                what.name, stack.name, stack.version(setting), concurrency, turn, load.throughput,
                load.quantile(0.5), load.quantile(0.99), sum(load.refused.values()), len(load.latencies),
                used / load.seconds, load.cpu / load.seconds, others, accuracy, mix(load.subnets),
            )  # fmt: skip


def mix(subnets: dict[str, int]) -> str:
    """Who answered how often, as text; empty for servers of one model."""
    return " ".join(f"{name}:{count}" for name, count in sorted(subnets.items()) if name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.server.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", help="an artifact, or a network to make a synthetic one of")
    parser.add_argument("--environments", type=Path, required=True, help="folder of the rivals' environments")
    parser.add_argument("--threads", type=int, default=1, help="of one inference")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="at each concurrency")
    parser.add_argument("--only", nargs="+", help="names of servers, by default all")
    parser.add_argument("--cache", type=Path, default=default_folder() / "bench-server")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    stacks = [stack for stack in (*OURS, *RIVALS) if not chosen.only or stack.name in chosen.only]
    failed = False
    rows: list[Row] = []
    try:
        what = served(chosen.network, chosen.cache, chosen.environments, chosen.threads)
    except ModelsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for turn in range(chosen.rounds):
        for stack in stacks:
            try:
                for row in measure(what, stack, chosen.seconds, turn):
                    rows.append(row)
                    print(server_report.line(row), flush=True)
            except (NotServing, WrongAnswer) as reason:
                print(f"{stack.name}: {reason}", file=sys.stderr)
                failed = True
    server_report.add(chosen.out, rows)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
