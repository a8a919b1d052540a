"""The clairvoyant bound: an offline optimum that knows all arrivals, and that no policy can exceed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.simulator.replay import Summary, worst_second
from downshift.runtime.simulator.taut_string import taut_string

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from downshift.runtime.profiling.profile import Profile, SubnetLatency
    from downshift.runtime.simulator.engine import Scenario


def oracle(scenario: Scenario) -> Summary:
    """An upper bound on attainment, and on effective accuracy, of every policy in that scenario.

    Relaxed: batching (an example costs the minimum per example over its sub-net's batches that could meet
    the budget), integrality (preemption and processor sharing are free, fractional answers count
    fractionally), and variance (every batch takes its p50). Kept: release times, deadlines, and the capacity
    of the executors.

    With equal budgets EDF is FIFO, so a schedule is a path of completion times x_j between arrivals and
    deadlines, and request j gets the time x_j - x_(j-1). Both figures are sums of a concave function of that
    time; the taut string maximises every such sum at once. This is the offline optimum of speed scaling
    (Yao, Demers, Shenker 1995). Served accuracy is the accuracy at that optimum: a policy that answers fewer
    requests may exceed it.
    """
    trace, profile = scenario.trace, scenario.profile
    given = time_per_request(trace.times, scenario.slo) * scenario.executors
    costs, accuracies = frontier(profile, scenario.slo)
    in_time = np.minimum(1.0, given / costs[1]) if len(costs) > 1 else np.zeros(len(given))
    known = all(subnet.accuracy is not None for subnet in profile.subnets)
    attainment = float(in_time.mean())
    effective = float(np.interp(given, costs, accuracies).mean())
    return Summary(
        policy="oracle",
        attainment=attainment,
        served_accuracy=effective / attainment if known and attainment else None,
        effective_accuracy=effective if known else None,
        goodput=float(in_time.sum()) / trace.seconds,
        worst_second=worst_second(trace, in_time),
    )


def time_per_request(times: NDArray[np.float64], slo: float) -> NDArray[np.float64]:
    """Seconds of work per request in the most even feasible schedule of one executor, [n]."""
    deadlines = times + slo
    # Busy periods are independent: finishing before the successor arrives gains nothing.
    followed = np.append(times[1:] < deadlines[:-1], False)
    starts = np.concatenate(([0], np.flatnonzero(~followed[:-1]) + 1))
    ends = np.append(starts[1:], len(times))
    given = np.empty(len(times))
    for begin, end in zip(starts.tolist(), ends.tolist(), strict=True):
        lower = np.append(times[begin + 1 : end], deadlines[end - 1])
        path = taut_string(float(times[begin]), lower.tolist(), deadlines[begin:end].tolist())
        given[begin:end] = np.diff(path, prepend=times[begin])
    return given


def frontier(profile: Profile, slo: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The concave hull of accuracy over seconds per example, from (0, 0) to the most accurate sub-net.

    Sub-nets that cannot meet the budget are excluded; an unknown accuracy counts as 1.
    """
    points = [
        (cost, 1.0 if subnet.accuracy is None else subnet.accuracy)
        for subnet in profile.subnets
        if (cost := _least_cost(subnet, slo)) is not None
    ]
    hull: list[tuple[float, float]] = []
    for x, y in [(0.0, 0.0), *sorted(points)]:
        if hull and y <= hull[-1][1]:
            continue
        while len(hull) > 1 and _turns_up(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    costs, accuracies = zip(*hull, strict=True)
    return np.array(costs), np.array(accuracies)


def _least_cost(subnet: SubnetLatency, slo: float) -> float | None:
    costs = [subnet.p50[n] / n for n in range(1, subnet.max_batch + 1) if subnet.p50[n] <= slo]
    return min(costs, default=None)


def _turns_up(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - b[0]) <= (c[1] - b[1]) * (b[0] - a[0])
