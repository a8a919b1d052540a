"""Does the server keep its goodput under overload, and does the simulator foresee what it does?

    python -m benchmarks.scheduling.overload resnet50-128 --loads 0.5 1 2 4 6 10

The server is a process of its own with one inference thread; the load is open loop, from another core, and
latency counts from when a request was due. At every load the same arrivals are sent twice: free, so that the
scheduler chooses, and pinned to the densest sub-net. Then the simulator replays them with the server's own
profile. It knows nothing of HTTP and of Python, so what they take is measured on the idle and on the
saturated server, and given to it as parameters.

It replays them once more as fast as the machine was in that run (`benchmarks.scheduling.replay`), since
client, HTTP and inference share caches and memory, and a machine's neighbours come and go. What is left
apart then is the model of the queue, not of the machine. With --steady the machine is at every moment as
fast as its profile says (`benchmarks.scheduling.steady`), and the simulator has nothing to know but that;
the files are then overload_steady.json and .png.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness.connections import OK
from benchmarks.harness.experiment import experiment
from benchmarks.harness.report import panels
from benchmarks.scheduling.profiled import network_options, profiled
from benchmarks.scheduling.replay import Costs, as_it_ran, batches, foreseen
from downshift.runtime.scheduling.budget import BudgetPolicy
from downshift.runtime.simulator.arrivals import Arrivals
from downshift.runtime.simulator.engine import Scenario, simulate
from downshift.runtime.simulator.trace import Trace

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Sequence

    from matplotlib.figure import Figure

    from benchmarks.harness.client import Record
    from benchmarks.harness.report import Report
    from benchmarks.harness.server import Server
    from benchmarks.scheduling.profiled import Profiled
    from downshift.runtime.profiling.profile import Profile

REFUSED, EXPIRED = 429, 504
IDLE_REQUESTS, IDLE_GAP, IDLE_BUDGET = 40, 0.1, 5.0
SATURATION, SATURATED_SECONDS = 8.0, 3.0  # capacities of the densest sub-net
REST_SECONDS = 1.0  # what is left of a load must not count for the next
DELIVERY = "downshift_delivery_reserve_seconds"
FREE, PINNED = "free", "pinned"


@dataclass(frozen=True)
class Figures:
    """Ratios but for goodput, a second; accuracy is that of the artifact's manifest, None without answers."""

    attainment: float
    goodput: float
    served_accuracy: float | None
    subnets: dict[str, float]


@dataclass(frozen=True)
class Unserved:
    """Why requests had no answer in time, as ratios of all.

    late: answered, but too late. refused: told at once to come back later (429), at the 99th percentile
    within `refused_p99_ms` of when they were due, None without any. expired: given up (504). lost: the rest.
    """

    late: float
    refused: float
    expired: float
    lost: float
    refused_p99_ms: float | None


@dataclass(frozen=True)
class Row:
    """One load, in capacities of the densest sub-net: what the server did, and what the simulator says."""

    load: float
    requests: int
    policy: str
    served: Figures
    simulated: Figures
    as_it_ran: Figures
    pace: float
    unserved: Unserved
    sent_late_p99_ms: float

    @property
    def gap(self) -> float:
        """How far the attainments of server and simulator are apart."""
        return abs(self.served.attainment - self.simulated.attainment)

    @property
    def gap_as_it_ran(self) -> float:
        """The same with the simulator's machine as fast at every moment as the real one was."""
        return abs(self.served.attainment - self.as_it_ran.attainment)

    def __str__(self) -> str:
        return (
            f"load {self.load:4.1f} {self.policy:7} in time {self.served.attainment:.4f} "
            f"(simulated {self.simulated.attainment:.4f}, as it ran, {self.pace:.2f} times the profile, "
            f"{self.as_it_ran.attainment:.4f}), goodput {self.served.goodput:7.1f}/s "
            f"(simulated {self.simulated.goodput:7.1f}), "
            f"answered late {self.unserved.late:.4f}, sent late p99 {self.sent_late_p99_ms:.1f} ms"
        )


def costs(served: Profiled, budget: float) -> Costs:
    """Measured on the idle server, then on the saturated one."""
    server = served.server
    idle = served.client(IDLE_BUDGET).open_loop(
        server.port, np.arange(IDLE_REQUESTS, dtype=np.float64) * IDLE_GAP
    )
    times = Arrivals(SATURATION * served.capacity, SATURATED_SECONDS).times()
    seconds, count = _computed(server)
    record = served.client(budget).open_loop(server.port, times)
    more_seconds, more_count = _computed(server)
    busy = float(record.ended[record.status == OK].max() - record.sent[0])
    return Costs(
        float(np.median(idle.ended - idle.sent - idle.computed)),
        max(0.0, (busy - (more_seconds - seconds)) / (more_count - count)),
        server.metric(DELIVERY),
    )


def _computed(server: Server) -> tuple[float, float]:
    """Seconds of inference so far, and in how many batches."""
    total, count = (server.metric(f"downshift_compute_duration_seconds_{kind}") for kind in ("sum", "count"))
    return total, count


def measured(record: Record, profile: Profile, trace: Trace, budget: float) -> Figures:
    """What the server did."""
    answered = record.in_time(budget)
    counts = {name: int((record.subnet[answered] == name).sum()) for name in profile.names}
    return _figures(counts, len(answered), trace, profile)


def unserved(record: Record, budget: float) -> Unserved:
    """What became of the requests that the server did not answer in time."""
    good, refused, expired = (record.status == status for status in (OK, REFUSED, EXPIRED))
    waited = record.latency[refused]
    return Unserved(
        late=float((good & ~record.in_time(budget)).mean()),
        refused=float(refused.mean()),
        expired=float(expired.mean()),
        lost=float((~(good | refused | expired)).mean()),
        refused_p99_ms=1e3 * float(np.quantile(waited, 0.99)) if len(waited) else None,
    )


def simulated(scenario: Scenario) -> Figures:
    """What the simulator makes of it, with the policy of the server."""
    profile, outcome = scenario.profile, simulate(scenario, BudgetPolicy())
    counts = {name: int((outcome.answered_by == index).sum()) for index, name in enumerate(profile.names)}
    return _figures(counts, len(scenario.trace.times), scenario.trace, profile)


def _figures(counts: dict[str, int], requests: int, trace: Trace, profile: Profile) -> Figures:
    answers = sum(counts.values())
    known = all(subnet.accuracy is not None for subnet in profile.subnets)
    earned = sum(count * (profile[name].accuracy or 0.0) for name, count in counts.items())
    return Figures(
        attainment=answers / requests,
        goodput=answers / trace.seconds,
        served_accuracy=earned / answers if known and answers else None,
        subnets={name: count / max(1, answers) for name, count in counts.items()},
    )


def both(served: Profiled, load: float, arrivals: Arrivals, budget: float, expected: Costs) -> Iterator[Row]:
    """Two rows for the load and its arrivals, in turn: free, and pinned to the densest sub-net."""
    trace = Trace(f"gamma, cv2 {arrivals.cv2:g}", arrivals.times(), arrivals.seconds)
    server, profile = served.server, served.profile
    for kind, pinned in ((FREE, None), (PINNED, profile.names[0])):
        client = served.client(budget, **({"X_Subnet": pinned} if pinned else {}))
        record = client.open_loop(server.port, trace.times)
        scenario = Scenario(trace, profile, slo=budget, seed=arrivals.seed, subnet=pinned)
        kept = replace(expected, kept=server.metric(DELIVERY))
        yield Row(
            load,
            len(trace.times),
            kind,
            measured(record, profile, trace, budget),
            simulated(foreseen(scenario, expected, budget)),
            simulated(as_it_ran(scenario, record, budget, kept)),
            batches(record).pace(profile),
            unserved(record, budget),
            1e3 * float(np.quantile(np.minimum(record.sent - record.due, trace.seconds), 0.99)),
        )
        time.sleep(REST_SECONDS)


def goals(rows: Sequence[Row]) -> dict[str, Any]:
    """The figures that the goals are about."""
    free = {row.load: row for row in rows if row.policy == FREE}
    peak = max(row.served.goodput for row in free.values())
    return {
        "peak goodput": peak,
        "goodput over peak, at each load": {
            f"{load:g}": row.served.goodput / peak for load, row in free.items()
        },
        "largest gap to the simulator's attainment": {
            kind: max(row.gap for row in rows if row.policy == kind) for kind in (FREE, PINNED)
        },
        "largest gap as it ran": {
            kind: max(row.gap_as_it_ran for row in rows if row.policy == kind) for kind in (FREE, PINNED)
        },
    }


def draw(rows: Sequence[Row]) -> Figure:
    """The picture of attainment and goodput against load, server and simulator."""
    figure, axes = panels(1, 2, size=(5.0, 3.5))
    for axis, field, label in zip(
        axes, ("attainment", "goodput"), ("answered in time", "goodput, 1/s"), strict=True
    ):
        for kind, colour in ((FREE, "tab:blue"), (PINNED, "tab:red")):
            mine = [row for row in rows if row.policy == kind]
            loads = [row.load for row in mine]
            for who, style in (("served", "o-"), ("simulated", "x--"), ("as_it_ran", "+:")):
                values = [getattr(getattr(row, who), field) for row in mine]
                axis.plot(loads, values, style, color=colour, label=f"{kind}, {who.replace('_', ' ')}")
        axis.set(xlabel="load, in capacities of the densest sub-net", ylabel=label)
        axis.legend(fontsize=8)
    return figure


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    network_options(parser)
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0, 6.0, 10.0])
    parser.add_argument("--budget-ms", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=8.0, help="at each load, free and pinned")
    parser.add_argument("--cv2", type=float, default=1.0, help="burstiness: 1 is a Poisson process")
    parser.add_argument("--steady", type=float, help="make every batch take so many times its profiled p50")


def measure(chosen: Namespace, report: Report) -> None:
    """The costs of serving, then every load."""
    rows, budget = [], chosen.budget_ms / 1e3
    with profiled(chosen.network, chosen.cache, steady=chosen.steady) as served:
        expected = costs(served, budget)
        print(", ".join(f"{name} {1e3 * value:.2f} ms" for name, value in asdict(expected).items()))
        for load in chosen.loads:
            arrivals = Arrivals(load * served.capacity, chosen.seconds, chosen.cv2, chosen.seed)
            for row in both(served, load, arrivals, budget, expected):
                rows.append(row)
                print(row, flush=True)
    if chosen.steady is not None:
        report = replace(report, name="overload_steady")
    report.figure(draw(rows))
    about = {
        "budget ms": chosen.budget_ms,
        "costs ms": {name: 1e3 * value for name, value in asdict(expected).items()},
        "cv2": chosen.cv2,
    }
    found = {**goals(rows), "rows": [asdict(row) for row in rows]}
    report.json({**served.about(), **about, **found}, seed=chosen.seed)


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
