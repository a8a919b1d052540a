"""Which sub-net answers within which latency budget, and how many answers are in time?

    python -m benchmarks.server.budgets downshift/models/zoo/cifar10-resnet20.onnx --budgets 1 2 5 50

For each budget one client keeps asking the real server over HTTP for some seconds; every answer is checked
against the logits of the sub-net that it names. The table says which sub-nets answered, how many answers
reached the client within the budget, and how many requests were refused because none could be in time.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.harness.experiment import experiment, served_options
from benchmarks.harness.quiet import undisturbed
from benchmarks.harness.report import table
from benchmarks.harness.server import downshift, wait_until_tuned
from benchmarks.harness.settings import prepare
from downshift.runtime.machine import default_threads

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from benchmarks.harness.client import Load
    from benchmarks.harness.report import Report
    from benchmarks.harness.settings import Setting

BUDGETS = (0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 20.0)  # milliseconds
WARM_SECONDS = 0.2
TOO_LATE = 504


def in_time(load: Load, budget: float) -> int:
    """Answers that the client had within the budget, in seconds, of sending its request."""
    return sum(taken <= budget for taken in load.latencies)


def row(load: Load, budget: float, names: Sequence[str]) -> list[str]:
    """One row of the table."""
    answers = len(load.latencies)
    share = f"{in_time(load, budget) / answers:.2%}" if answers else "-"
    median = f"{load.quantile(0.5) * 1e3:.2f}" if answers else "-"
    counts = [str(load.subnets[name]) for name in names]
    return [f"{budget * 1e3:g}", *counts, share, median, str(load.refused[TOO_LATE])]


def ask(setting: Setting, budgets: Sequence[float], seconds: float) -> list[Load]:
    """What asking with each budget came to; raises `NotServing`, `WrongAnswer`."""
    with downshift(setting.path, setting.folder, threads=setting.threads) as server:
        wait_until_tuned(server)
        loads = []
        for budget in budgets:
            client = setting.v2(X_Latency_Budget_Ms=f"{budget * 1e3:g}")
            client.closed_loop(server.port, 1, WARM_SECONDS)
            loads.append(client.closed_loop(server.port, 1, seconds))
        return loads


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    served_options(parser, default_threads())
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="milliseconds")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each budget")


def measure(chosen: Namespace, report: Report) -> None:
    """Ask with each budget, on a machine that others leave alone."""
    setting, budgets = (
        prepare(chosen.network, chosen.cache, chosen.threads),
        [b / 1e3 for b in chosen.budgets],
    )
    loads, others = undisturbed(partial(ask, setting, budgets, chosen.seconds))
    names = setting.artifact.manifest.names
    replace(report, name=f"budgets-{setting.name}").markdown(
        f"Who answers within which budget: {setting.name}",
        f"{chosen.threads} threads; one client over HTTP, {chosen.seconds:g} s for each budget, every answer "
        "checked. Times are the client's, from sending to having the whole answer. Others took "
        f"{others:.1%} of the machine.",
        table(
            ["budget, ms", *names, "within it", "p50, ms", f"refused ({TOO_LATE})"],
            [row(load, budget, names) for load, budget in zip(loads, budgets, strict=True)],
        ),
    )


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
