"""What one decision of the budget policy costs: queues of several lengths, calm and overloaded.

    python -m benchmarks.scheduling.policy_decision

Prints mean and p99 in microseconds, taken over single decisions, each checked to name a sub-net of the head.
"""

from __future__ import annotations

import time

import numpy as np

from downshift.runtime.machine import Machine
from downshift.runtime.profiling.profile import Measurement, Profile
from downshift.runtime.scheduling.budget import BudgetPolicy
from downshift.runtime.scheduling.load import LoadSnapshot
from downshift.runtime.scheduling.policy import QueueView, Waiting

SECONDS = {"s50": 0.0030, "s80": 0.0016, "s90": 0.0010, "s95": 0.0006, "s98": 0.0003}
BATCH_SIZES = (1, 2, 4, 8)
DECISIONS = 20_000


def five_sub_nets() -> Profile:
    """Latencies of about a ResNet-20 on one core; a batch saves 15 % of its members' time."""
    rows = [
        Measurement(name, int(name[1:]) / 100, 0.95 - index / 50, "x", size, p50, 1.1 * p50, 1.2 * p50, True)
        for index, (name, seconds) in enumerate(SECONDS.items())
        for size in BATCH_SIZES
        for p50 in [seconds * (0.15 + 0.85 * size)]
    ]
    return Profile("", Machine("any", 1, (), 1, {}), tuple(rows))


def queue(length: int, seconds_each: float) -> QueueView:
    """Requests whose deadlines leave that much time to each of them."""
    names = tuple(SECONDS)
    waiting = [Waiting(0.0, 0.001 + seconds_each * (i + 1), 1, names) for i in range(length)]
    return QueueView(0.0, waiting, length)


def main() -> None:
    """Measure and print."""
    policy, load, profile = BudgetPolicy(), LoadSnapshot(), five_sub_nets()
    print(f"{'queued':>6} {'ms each':>8} {'decision':>16} {'mean us':>8} {'p99 us':>8}")
    for length in (1, 8, 64, 512):
        for seconds_each in (0.0040, 0.0012, 0.0001):
            view = queue(length, seconds_each)
            samples = np.empty(DECISIONS)
            for index in range(DECISIONS):
                begin = time.perf_counter()
                decision = policy.decide(view, load, profile)
                samples[index] = time.perf_counter() - begin
            if decision.subnet not in view.waiting[0].candidates:
                raise AssertionError(f"{decision} is not open to the head")
            chosen = f"{decision.subnet} x {decision.batch_size} {decision.reason}"
            mean, p99 = samples.mean() * 1e6, np.quantile(samples, 0.99) * 1e6
            print(f"{length:>6} {seconds_each * 1e3:>8.1f} {chosen:>16} {mean:>8.2f} {p99:>8.2f}")


if __name__ == "__main__":
    main()
