"""The real server under more load than its densest sub-net can bear, and the simulator beside it.

    python -m benchmarks.scheduling.overload resnet50.onnx --loads 0.5 1 2 4 6 10

The server is a process of its own with one inference thread; the load is open-loop, from another core, and
latency counts from when a request was due. At every load the same arrivals are sent twice: free, so that the
scheduler chooses, and pinned to the densest sub-net. Then the simulator replays them with the server's own
profile. It knows nothing of HTTP and of Python, so what they take is measured on the idle and on the
saturated server, and given to it as parameters.

It replays them once more as fast as the machine was in that run (`benchmarks.scheduling.replay`), since
client, HTTP and inference share caches and memory, and a machine's neighbours come and go. What is left
apart then is the model of the queue, not of the machine. With --steady the machine is at every moment as
fast as its profile says (`benchmarks.scheduling.steady`), and the simulator has nothing to know but
that.

Writes overload.json and overload.png, or overload_steady.json and .png.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import numpy as np

from benchmarks.harness.open_loop import OpenLoop
from benchmarks.harness.real_report import RESULTS, circumstances, keep, panels
from benchmarks.harness.real_server import NoServer, RealServer, serving, serving_steadily
from benchmarks.scheduling.replay import Costs, as_it_ran, batches, foreseen
from downshift.models.errors import ModelsError
from downshift.runtime.scheduling.budget import BudgetPolicy
from downshift.runtime.simulator.arrivals import Arrivals
from downshift.runtime.simulator.comparison import capacity
from downshift.runtime.simulator.engine import Scenario, simulate
from downshift.runtime.simulator.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from benchmarks.harness.open_loop import Record
    from downshift.runtime.profiling.profile import Profile

IMAGES = 4
OK, REFUSED, EXPIRED = 200, 429, 504
IDLE_REQUESTS, IDLE_GAP = 40, 0.1
SATURATION, SATURATED_SECONDS = 8.0, 3.0  # capacities of the densest sub-net
_DELIVERY = re.compile(r"^downshift_delivery_reserve_seconds (\S+)$", re.MULTILINE)
_COMPUTED = re.compile(r"^downshift_compute_duration_seconds_(sum|count)\{.*\} (\S+)$", re.MULTILINE)
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


def costs(server: RealServer, budget: float) -> Costs:
    """Measured on the idle server, then on the saturated one."""
    request = server.request(0, {"X-Latency-Budget-Ms": "5000"})
    idle = OpenLoop(server.url, [request]).drive(np.arange(IDLE_REQUESTS, dtype=np.float64) * IDLE_GAP)
    times = Arrivals(SATURATION * capacity(server.profile), SATURATED_SECONDS).times()
    request = server.request(0, {"X-Latency-Budget-Ms": f"{budget * 1e3:g}"})
    seconds, count = _computed(server)
    record = OpenLoop(server.url, [request]).drive(times)
    more_seconds, more_count = _computed(server)
    busy = float(record.ended[record.status == OK].max() - record.sent[0])
    return Costs(
        float(np.median(idle.ended - idle.sent - idle.computed)),
        max(0.0, (busy - (more_seconds - seconds)) / (more_count - count)),
        delivery(server),
    )


def _computed(server: RealServer) -> tuple[float, int]:
    """Seconds of inference so far, and in how many batches."""
    with urlopen(f"{server.url}/metrics") as answer:  # noqa: S310 - the server we started
        found = _COMPUTED.findall(answer.read().decode())
    total = {kind: sum(float(value) for name, value in found if name == kind) for kind in ("sum", "count")}
    return total["sum"], int(total["count"])


def measured(record: Record, profile: Profile, trace: Trace, budget: float) -> Figures:
    """What the server did."""
    answered = record.in_time(budget)
    counts = {name: int((record.subnet[answered] == name).sum()) for name in profile.names}
    return _figures(counts, len(answered), trace, profile)


def unserved(record: Record, budget: float) -> Unserved:
    """What became of the requests that the server did not answer in time."""
    good, refused, expired = (record.status == status for status in (OK, REFUSED, EXPIRED))
    waited = (record.ended - record.due)[refused]
    return Unserved(
        late=float((good & ~record.in_time(budget)).mean()),
        refused=float(refused.mean()),
        expired=float(expired.mean()),
        lost=float((~(good | refused | expired)).mean()),
        refused_p99_ms=1e3 * float(np.quantile(waited, 0.99)) if len(waited) else None,
    )


def delivery(server: RealServer) -> float:
    """Seconds that the server keeps of a budget at present for an answer's way back."""
    with urlopen(f"{server.url}/metrics") as answer:  # noqa: S310 - the server we started
        found = _DELIVERY.search(answer.read().decode())
    return float(found[1]) if found else 0.0


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


def measure(
    server: RealServer, patterns: Sequence[tuple[float, Arrivals]], budget: float, expected: Costs
) -> list[Row]:
    """Two rows for every load and its arrivals, in turn: free and pinned."""
    granted = {"X-Latency-Budget-Ms": f"{budget * 1e3:g}"}
    densest = server.profile.names[0]
    kinds: dict[str, tuple[dict[str, str], str | None]] = {
        FREE: (granted, None),
        PINNED: ({**granted, "X-Subnet": densest}, densest),
    }
    rows = []
    for load, arrivals in patterns:
        trace = Trace(f"gamma, cv2 {arrivals.cv2:g}", arrivals.times(), arrivals.seconds)
        for kind, (headers, pinned) in kinds.items():
            requests = [server.request(index, headers) for index in range(IMAGES)]
            record = OpenLoop(server.url, requests).drive(trace.times)
            scenario = Scenario(trace, server.profile, budget, seed=arrivals.seed, subnet=pinned)
            kept = replace(expected, kept=delivery(server))
            row = Row(
                load,
                len(trace.times),
                kind,
                measured(record, server.profile, trace, budget),
                simulated(foreseen(scenario, expected, budget)),
                simulated(as_it_ran(scenario, record, budget, kept)),
                batches(record).pace(server.profile),
                unserved(record, budget),
                1e3 * float(np.quantile(np.minimum(record.sent - record.due, trace.seconds), 0.99)),
            )
            rows.append(row)
            print(
                f"load {load:4.1f} {kind:7} in time {row.served.attainment:.4f} "
                f"(simulated {row.simulated.attainment:.4f}, as it ran, {row.pace:.2f} times the profile, "
                f"{row.as_it_ran.attainment:.4f}), goodput {row.served.goodput:7.1f}/s "
                f"(simulated {row.simulated.goodput:7.1f}), "
                f"answered late {row.unserved.late:.4f}, sent late p99 {row.sent_late_p99_ms:.1f} ms",
                flush=True,
            )
            time.sleep(1.0)  # what is left of this load must not count for the next
    return rows


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
    figure, axes = panels(1, 2)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scheduling.overload",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "artifact", type=Path, help="a model.onnx, as benchmarks.harness.random_artifact makes"
    )
    parser.add_argument("--cache", type=Path, required=True, help="a folder for the server's profile")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0, 6.0, 10.0])
    parser.add_argument("--budget-ms", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=8.0, help="at each load, free and pinned")
    parser.add_argument("--cv2", type=float, default=1.0, help="burstiness: 1 is a Poisson process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steady", type=float, help="make every batch take so many times its profiled p50")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    steady = chosen.steady
    start = serving if steady is None else partial(serving_steadily, factor=steady)
    try:
        with start(chosen.artifact, chosen.cache) as server:
            unit, budget = capacity(server.profile), chosen.budget_ms / 1e3
            expected = costs(server, budget)
            print(", ".join(f"{name} {1e3 * value:.2f} ms" for name, value in asdict(expected).items()))
            patterns = [
                (load, Arrivals(load * unit, chosen.seconds, chosen.cv2, chosen.seed))
                for load in chosen.loads
            ]
            rows = measure(server, patterns, budget, expected)
    except (ModelsError, NoServer) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    document = {
        **circumstances("overload", arguments, server),
        "capacity of the densest, 1/s": unit,
        "budget ms": chosen.budget_ms,
        "costs ms": {name: 1e3 * value for name, value in asdict(expected).items()},
        "cv2": chosen.cv2,
        "seed": chosen.seed,
        **goals(rows),
        "rows": [asdict(row) for row in rows],
    }
    keep(chosen.out, "overload" if steady is None else "overload_steady", document, draw(rows))
    print(json.dumps(goals(rows), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
