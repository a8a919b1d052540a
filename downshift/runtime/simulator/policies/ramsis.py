"""RAMSIS (Mendoza et al., EuroSys 2024): a Markov decision process per worker, solved offline."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from downshift.runtime.simulator.policies.choice import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, QueueView

QUEUE = 64  # state space: longest queue; longer ones are clamped
SLACKS = 20  # state space: quantisation steps of the slack, from 0 to the SLO
HORIZON = 4.0  # SLOs: time constant of the discount
SWEEPS = 400  # value iteration: maximum
SETTLED = 12  # value iteration: sweeps with a stable policy before it stops
LEVEL = 1.3  # ratio of neighbouring arrival rates with a table


@dataclass(frozen=True)
class Ramsis:
    """The optimal policy of the process, tabulated by arrival rate, queue length and slack of the head.

    rates: examples per second and executor of each table, ascending. tables: [queue length, slack step] ->
    (sub-net, batch size), None where no sub-net meets the deadline.
    """

    slo: float
    rates: tuple[float, ...]
    tables: tuple[tuple[tuple[tuple[str, int] | None, ...], ...], ...]

    @classmethod
    def build(cls, profile: Profile, slo: float, rates: Sequence[float] | None = None) -> Self:
        """Solve for these rates; by default from 1/8 of the densest sub-net's capacity to 1.5 of the peak."""
        if rates is None:
            lowest = 1.0 / (8.0 * profile.subnets[0].p50[1])
            steps = math.ceil(math.log(1.5 / (profile.floor * lowest), LEVEL))
            rates = [lowest * LEVEL**step for step in range(steps + 1)]
        return cls(slo, tuple(rates), tuple(_solve(profile, slo, rate) for rate in rates))

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:
        """The entry of the table for the next higher rate."""
        level = min(bisect_left(self.rates, load.arrival_rate / queue.executors), len(self.rates) - 1)
        slack = queue.waiting[0].deadline - queue.now
        step = min(SLACKS, max(0, int(slack / self.slo * SLACKS)))
        length = min(QUEUE, -(-queue.examples // queue.executors))
        chosen = self.tables[level][length][step]
        if chosen is None:
            return run(queue, profile.names[-1], 1, "fastest")
        return run(queue, *chosen)


def _solve(profile: Profile, slo: float, rate: float) -> tuple[tuple[tuple[str, int] | None, ...], ...]:
    """Value iteration over states (queue length, slack of the head) for Poisson arrivals at that rate.

    Reward of an action: sub-net accuracy times batch size if its latency bound (RAMSIS: p95; here the p99) is
    within the slack. Ages of the requests left behind are assumed uniform between the head's age and 0.
    """
    actions = [(subnet, size) for subnet in profile.subnets for size in range(1, subnet.max_batch + 1)]
    seconds = np.array([subnet.p50[size] for subnet, size in actions])
    bounds = np.array([subnet.p99[size] for subnet, size in actions])
    sizes = np.array([size for _, size in actions])
    accuracy = np.array([1.0 if subnet.accuracy is None else subnet.accuracy for subnet, _ in actions])
    lengths, slacks = np.arange(QUEUE + 1), slo * np.arange(SLACKS + 1) / SLACKS

    left = lengths[None, :] - sizes[:, None]  # [action, length]
    feasible = (left >= 0)[:, :, None] & (bounds[:, None, None] <= slacks)  # [action, length, slack]
    reward = np.where(feasible, (accuracy * sizes)[:, None, None], -np.inf)
    discount = np.exp(-seconds / (HORIZON * slo))
    arrivals = _poisson(rate * seconds)  # [action, count]
    growth = _growth(arrivals)  # [action, length, next length]
    share = np.clip(left / np.maximum(lengths, 1), 0.0, 1.0)[:, :, None]
    aged = slo - (slo - slacks) * share - seconds[:, None, None]
    next_slack = _step(aged, slo)
    fresh = _step(slo - seconds[:, None] * (counts := np.arange(QUEUE + 1)) / (counts + 1.0), slo)
    rest = np.maximum(left, 0)[:, :, None]
    after_drop = _step(slo - (slo - slacks) * (1.0 - 1.0 / np.maximum(lengths, 1))[:, None], slo)
    idle = rate / (rate + 1.0 / (HORIZON * slo))
    which = np.arange(len(actions))[:, None, None]

    value = np.zeros((QUEUE + 1, SLACKS + 1))
    policy, stable = np.full(value.shape, -1), 0
    for _ in range(SWEEPS):
        value[0] = idle * value[1, SLACKS]
        grown = growth @ value
        empty = (arrivals * value[counts, fresh]).sum(axis=1)
        future = np.where(left[:, :, None] == 0, empty[:, None, None], grown[which, rest, next_slack])
        worth = reward + discount[:, None, None] * future
        best, updated = worth.argmax(axis=0), worth.max(axis=0)
        best = np.where(np.isneginf(updated), -1, best)
        dropped = value[np.maximum(lengths - 1, 0)[:, None], after_drop]
        value = np.where(best < 0, dropped, updated)
        stable = stable + 1 if np.array_equal(best, policy) else 0
        policy = best
        if stable == SETTLED:
            break
    names = [(subnet.name, size) for subnet, size in actions]
    return tuple(tuple(names[a] if a >= 0 else None for a in row) for row in policy.tolist())


def _step(slack: NDArray[np.float64], slo: float) -> NDArray[np.int64]:
    """The slack quantised to a step, rounded down."""
    return np.clip(np.floor(slack / slo * SLACKS + 1e-9), 0, SLACKS).astype(np.int64)


def _poisson(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Poisson probabilities [action, count] of 0 ... QUEUE arrivals; the tail is added to QUEUE."""
    counts = np.arange(QUEUE + 1)
    logs = np.cumsum(np.log(np.maximum(counts, 1)))
    probability: NDArray[np.float64] = np.exp(counts * np.log(mean)[:, None] - mean[:, None] - logs)
    probability[:, -1] += np.maximum(0.0, 1.0 - probability.sum(axis=1))
    return probability


def _growth(arrivals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transition probabilities [action, length, next length] through arrivals alone."""
    moves = np.zeros((len(arrivals), QUEUE + 1, QUEUE + 1))
    for length in range(QUEUE + 1):
        moves[:, length, length:] = arrivals[:, : QUEUE + 1 - length]
        moves[:, length, -1] += arrivals[:, QUEUE + 1 - length :].sum(axis=1)
    return moves
