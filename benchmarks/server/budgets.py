"""Who answers whom: the real server, asked over HTTP with one latency budget after the other.

For each budget one client keeps asking for some seconds, every answer checked against the logits of the
sub-net that is said to have given it. The table says which sub-nets answered, how many answers reached the
client within the budget, and how many requests were refused because none could be in time.

    python -m benchmarks.server.budgets downshift/models/zoo/cifar10-resnet20.onnx --budgets 1 2 5 50
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness.client import V2Binary, WrongAnswer
from benchmarks.harness.quiet import BusyMachine, undisturbed
from benchmarks.harness.report import RESULTS
from benchmarks.harness.settings import served
from benchmarks.harness.stacks import MODEL, NotServing, Ours, free_port, serving
from downshift.models.errors import ModelsError
from downshift.runtime.machine import default_threads, this_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.harness.client import Load
    from benchmarks.harness.settings import Served

BUDGETS = (0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 20.0)
LONGEST_TUNING = 120.0
DONE = 'downshift_tuning_progress_ratio{model="%s"} 1.0'


def in_time(load: Load, budget: float) -> int:
    """Answers that the client had within the budget, in seconds, of sending its request."""
    return sum(taken <= budget for taken in load.latencies)


def line(load: Load, budget: float, names: Sequence[str]) -> str:
    """One row of the table."""
    answers = len(load.latencies)
    share = f"{in_time(load, budget) / answers:.2%}" if answers else "-"
    median = f"{load.quantile(0.5) * 1e3:.2f}" if answers else "-"
    counts = [str(load.subnets[name]) for name in names]
    return f"| {' | '.join([f'{budget * 1e3:g}', *counts, share, median, str(load.refused[504])])} |"


def wait_until_tuned(port: int) -> None:
    """Return when the server has done what it does while nobody asks; raises `NotServing`."""
    end = time.monotonic() + LONGEST_TUNING
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            if DONE % MODEL in answer.read().decode():
                return
        time.sleep(0.5)
    raise NotServing(f"it is still tuning after {LONGEST_TUNING:.0f} s")


def ask(what: Served, budgets: Sequence[float], seconds: float) -> list[Load]:
    """What asking with each budget came to; raises `NotServing`, `WrongAnswer`."""
    setting, ours, port = what.setting, Ours("Downshift", dense=False), free_port()
    anyone = what.client(V2Binary(MODEL))
    log, environment = setting.folder / "budgets.log", ours.environment(setting, port)
    with serving(ours.command(setting, port), port, anyone, log, environment):
        wait_until_tuned(port)
        loads = []
        for budget in budgets:
            client = what.client(V2Binary(MODEL, headers={"X-Latency-Budget-Ms": f"{budget * 1e3:g}"}))
            client.run(port, 1, 0.2)
            loads.append(client.run(port, 1, seconds))
        return loads


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.server.budgets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", help="an artifact, or a network to make a synthetic one of")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="milliseconds")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each budget")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    budgets = [budget / 1e3 for budget in chosen.budgets]
    try:
        with tempfile.TemporaryDirectory() as folder:
            what = served(chosen.network, Path(folder), Path(folder), chosen.threads)
            loads, others = undisturbed(lambda: ask(what, budgets, chosen.seconds))
    except (ModelsError, WrongAnswer, NotServing, BusyMachine) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names = what.artifact.manifest.names
    head = ["budget, ms", *names, "within it", "p50, ms", "refused (504)"]
    text = "\n".join(
        [
            f"# Who answers within which budget: {what.name}",
            "",
            f"{this_machine(chosen.threads, {}).cpu}, {chosen.threads} threads; one client over HTTP,",
            f"{chosen.seconds:g} s for each budget, every answer checked. Times are the client's, from",
            f"sending to having the whole answer. Others took {others:.1%} of the machine.",
            "",
            f"| {' | '.join(head)} |",
            "|" + "---|" * len(head),
            *(line(load, budget, names) for load, budget in zip(loads, budgets, strict=True)),
            "",
        ]
    )
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / f"budgets-{what.name}.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
