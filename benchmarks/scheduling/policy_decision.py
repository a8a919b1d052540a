"""What does one decision of the budget policy cost? Queues of several lengths, idle and overloaded.

    python -m benchmarks.scheduling.policy_decision

Mean and p99 in microseconds over single decisions, each checked to name a sub-net that the queue's head
admits.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness.errors import WrongAnswer
from benchmarks.harness.experiment import experiment
from benchmarks.harness.quiet import disturbance, usage
from downshift.runtime.machine import Machine
from downshift.runtime.profiling.profile import Measurement, Profile
from downshift.runtime.scheduling.budget import BudgetPolicy
from downshift.runtime.scheduling.policy import LoadSnapshot, QueueView, Waiting

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from benchmarks.harness.report import Report

SECONDS = {"s50": 0.0030, "s80": 0.0016, "s90": 0.0010, "s95": 0.0006, "s98": 0.0003}
BATCH_SIZES = (1, 2, 4, 8)
LENGTHS, SECONDS_EACH = (1, 8, 64, 512), (0.0040, 0.0012, 0.0001)


def five_sub_nets() -> Profile:
    """Latencies of about a ResNet-20 on one core; a batch saves 15 % of its members' time."""
    rows = [
        Measurement(
            subnet=name,
            sparsity=int(name[1:]) / 100,
            accuracy=0.95 - index / 50,
            engine="x",
            batch_size=size,
            p50=p50,
            p95=1.1 * p50,
            p99=1.2 * p50,
            chosen=True,
        )
        for index, (name, seconds) in enumerate(SECONDS.items())
        for size in BATCH_SIZES
        for p50 in [seconds * (0.15 + 0.85 * size)]
    ]
    return Profile("", Machine(cpu="any", cores=1, gpus=(), threads=1, versions={}), tuple(rows))


def queue(length: int, seconds_each: float) -> QueueView:
    """Requests whose deadlines leave that much time to each of them."""
    names = tuple(SECONDS)
    waiting = [Waiting(0.0, 0.001 + seconds_each * (i + 1), 1, names) for i in range(length)]
    return QueueView(0.0, waiting, length)


def time_decisions(view: QueueView, count: int) -> dict[str, Any]:
    """Microseconds of that many decisions, and the last one; raises `WrongAnswer`."""
    policy, load, profile = BudgetPolicy(), LoadSnapshot(), five_sub_nets()
    samples = np.empty(count)
    for index in range(count):
        begin = time.perf_counter()
        decision = policy.decide(view, load, profile)
        samples[index] = time.perf_counter() - begin
        if decision.subnet not in view.waiting[0].candidates:
            raise WrongAnswer(f"{decision} is not open to the head")
    return {
        "decision": f"{decision.subnet} x {decision.batch_size} {decision.reason}",
        "mean us": round(float(samples.mean()) * 1e6, 2),
        "p99 us": round(float(np.quantile(samples, 0.99)) * 1e6, 2),
    }


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--decisions", type=int, default=20_000, help="for each queue")


def measure(chosen: Namespace, report: Report) -> None:
    """Every length of the queue with every time left for each request."""
    begin = usage()
    found = [
        {
            "queued": length,
            "ms each": seconds * 1e3,
            **time_decisions(queue(length, seconds), chosen.decisions),
        }
        for length in LENGTHS
        for seconds in SECONDS_EACH
    ]
    report.json({"queues": found, "others": round(disturbance(begin), 3)})


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
