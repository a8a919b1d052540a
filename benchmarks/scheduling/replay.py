"""What the simulator must know of a real server to foresee a run, or to replay one.

Foreseen is a run from the profile and from what serving costs beyond inference, measured before it.
Replayed, a batch takes what batches of its kind took in that run, times how much slower than those the
server's batch of that moment was; a request takes beyond its inference what it took in the run, half of the
median on its way in and all else on its way back; and as much of a budget is kept for that as the server
kept.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.simulator.service import Recorded, mean
from downshift.server.demand import SHARE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.harness.client import Record
    from downshift.runtime.profiling.profile import Measurement, Profile
    from downshift.runtime.simulator.engine import Scenario

INWARD = 0.5  # share of the median of what HTTP takes that passes before a request is queued
TOGETHER = 0.05  # seconds between the answers to members of one batch, at most, and half of what it took
FEWEST = 3  # batches of a kind from which on their median counts


@dataclass(frozen=True)
class Costs:
    """What serving costs beyond the inference that was profiled, in seconds.

    request: the median of what a request on the idle server takes on its ways in and back. handover: the mean
    between two inferences on the saturated server. kept: of a budget for the way back, at present.
    """

    request: float
    handover: float
    kept: float


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches whose answers are in a record, in the order of their beginning, [n].

    kinds: sub-net and examples. begun: seconds from the start. seconds: what each took.
    """

    kinds: tuple[tuple[str, int], ...]
    begun: NDArray[np.float64]
    seconds: NDArray[np.float64]

    def typical(self, profile: Profile) -> NDArray[np.float64]:
        """The p50 that the profile has of each, seconds [n]."""
        return np.array([profile[name].typical(examples) for name, examples in self.kinds])

    def expected(self, profile: Profile) -> NDArray[np.float64]:
        """The mean that the profile has of each, seconds [n]."""
        return np.array([mean(profile[name], examples) for name, examples in self.kinds])

    def pace(self, profile: Profile) -> float:
        """How many times as long as profiled they took; 1 without any."""
        return float(self.seconds.sum() / self.expected(profile).sum()) if self.kinds else 1.0


def batches(record: Record) -> Batches:
    """What was run together: its members name the same sub-net and duration, and are answered together."""
    answered = np.flatnonzero(np.isfinite(record.computed) & (record.subnet != ""))
    order = answered[np.lexsort((record.ended[answered], record.computed[answered], record.subnet[answered]))]
    subnet, seconds, ended = record.subnet[order], record.computed[order], record.ended[order]
    new = (
        (subnet[1:] != subnet[:-1])
        | (seconds[1:] != seconds[:-1])
        | (np.diff(ended) > np.minimum(TOGETHER, seconds[1:] / 2))
    )
    first = np.flatnonzero(np.concatenate(([True], new))) if len(order) else order
    sizes = np.diff(np.append(first, len(order)))
    begun = ended[first] - seconds[first]
    by_time = np.argsort(begun, kind="stable")
    kinds = [(str(subnet[first[one]]), int(sizes[one])) for one in by_time]
    return Batches(tuple(kinds), begun[by_time], seconds[first][by_time])


def foreseen(scenario: Scenario, expected: Costs, budget: float) -> Scenario:
    """The scenario on the server whose costs those are, and whose machine is as fast as its profile."""
    inward = INWARD * expected.request
    back = np.full(len(scenario.trace.times), expected.request - inward)
    return _served(scenario, inward, back, budget, expected)


def as_it_ran(scenario: Scenario, record: Record, budget: float, expected: Costs) -> Scenario:
    """The scenario on a machine, and with ways in and back, as fast as the record's."""
    ran = batches(record)
    if not ran.kinds:
        return scenario
    beyond = record.latency - record.queued - record.computed
    inward = INWARD * float(np.nanmedian(beyond))
    back = np.maximum(0.0, _as_before(beyond) - inward)
    usual = observed(scenario.profile, ran)
    recorded = Recorded(usual, ran.begun.tolist(), (ran.seconds / ran.typical(usual)).tolist())
    return replace(_served(scenario, inward, back, budget, expected), recorded=recorded)


def observed(profile: Profile, ran: Batches) -> Profile:
    """The profile as these batches have it: the median of those of a kind, else slower as all of them are."""
    ratios, by_kind = ran.seconds / ran.typical(profile), defaultdict(list)
    for kind, ratio in zip(ran.kinds, ratios, strict=True):
        by_kind[kind].append(ratio)

    def scaled(row: Measurement) -> Measurement:
        those = by_kind[row.subnet, row.batch_size]
        factor = float(np.median(those if len(those) >= FEWEST else ratios))
        return replace(row, p50=factor * row.p50, p95=factor * row.p95, p99=factor * row.p99)

    return replace(profile, measurements=tuple(scaled(row) for row in profile.measurements))


def _served(
    scenario: Scenario, inward: float, back: NDArray[np.float64], budget: float, expected: Costs
) -> Scenario:
    """Requests of that budget are queued after `inward` seconds; their answers take `back` [n]."""
    return replace(
        scenario,
        trace=replace(scenario.trace, times=scenario.trace.times + inward),
        slo=budget - inward,
        reserve=min(expected.kept, SHARE * budget),
        handover=expected.handover,
        delivery=tuple(back.tolist()),
    )


def _as_before(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same [n], with those that are no number as the one before them; at least one must be a number."""
    known = np.flatnonzero(np.isfinite(values))
    before = np.searchsorted(known, np.arange(len(values)), side="right") - 1
    return values[known[np.maximum(0, before)]]
