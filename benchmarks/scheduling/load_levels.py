"""Does load without budgets bring sparser sub-nets, and back, without flapping?

    python -m benchmarks.scheduling.load_levels resnet50-128

Requests without a budget meet the real server, open loop, at a load that goes through steps, in capacities
of the densest sub-net. Who answers tells the level. The level may go up and down within a step as well, where
the load lies between what two sub-nets can bear: its changes of direction are counted.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness.experiment import experiment
from benchmarks.harness.report import panels
from benchmarks.scheduling.profiled import network_options, profiled
from downshift.runtime.simulator.arrivals import Arrivals

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from benchmarks.harness.client import Record
    from benchmarks.harness.report import Report

WINDOW = 0.25  # seconds over which sub-nets are counted for the picture


def levels(record: Record, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """When each answer came, ascending, and how many sub-nets below the densest gave it."""
    answered = np.flatnonzero(record.subnet != "")
    order = answered[np.argsort(record.ended[answered], kind="stable")]
    return record.ended[order], np.array([names.index(name) for name in record.subnet[order]], np.int64)


def turns(path: Sequence[int]) -> int:
    """How often a path of levels changes direction: from up to down or from down to up."""
    steps = [after - before for before, after in pairwise(path) if after != before]
    return sum((before > 0) != (after > 0) for before, after in pairwise(steps))


def figures(record: Record, names: Sequence[str], loads: Sequence[float], seconds: float) -> dict[str, Any]:
    """For each step of the load: who answered, how long it took, and how steady the level was."""
    ended, level = levels(record, names)
    edges = np.linspace(0.0, seconds, len(loads) + 1)
    found = []
    for load, (begin, end) in zip(loads, pairwise(edges), strict=True):
        now, due = (ended >= begin) & (ended < end), (record.due >= begin) & (record.due < end)
        took = record.latency[due & (record.subnet != "")]
        found.append(
            {
                "load": load,
                "requests": int(due.sum()),
                "answered": float((record.subnet[due] != "").mean()),
                "p50, p99 ms": [1e3 * float(np.quantile(took, share)) for share in (0.5, 0.99)],
                "answers by sub-net": {name: int((level[now] == i).sum()) for i, name in enumerate(names)},
                "sub-net at the end": names[int(level[now][-1])],
                "changes of level": int((np.diff(level[now]) != 0).sum()),
                "turns": turns(level[now].tolist()),
            }
        )
    return {"steps": found}


def draw(record: Record, names: Sequence[str], loads: Sequence[float], seconds: float) -> Figure:
    """Who answered over time, and how long requests took."""
    figure, (above, below) = panels(2, 1, size=(10.0, 2.5), share_time=True)
    ended, level = levels(record, names)
    edges = np.arange(0.0, seconds + 1e-9, WINDOW)
    counts = [np.histogram(ended[level == i], edges)[0] / WINDOW for i in range(len(names))]
    above.stackplot(edges[:-1] + WINDOW / 2, counts, labels=names)
    above.set(ylabel="answers per second, by sub-net")
    above.legend(fontsize=7, loc="upper left")
    below.plot(record.due, 1e3 * record.latency, ".", markersize=2)
    below.set(xlabel="seconds", ylabel="a request took, ms")
    for load, begin in zip(loads, np.linspace(0.0, seconds, len(loads) + 1), strict=False):
        below.axvline(begin, color="tab:gray", linewidth=0.8)
        below.annotate(f"{load:g}x", (begin, 1.0), xycoords=("data", "axes fraction"), va="top")
    return figure


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    network_options(parser)
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 2.0, 3.5, 2.0, 0.5])
    parser.add_argument("--seconds", type=float, default=25.0, help="for all steps together")


def measure(chosen: Namespace, report: Report) -> None:
    """One run through all steps."""
    loads, seconds = tuple(chosen.loads), chosen.seconds
    with profiled(chosen.network, chosen.cache) as served:
        pattern = Arrivals(served.capacity, seconds, seed=chosen.seed, steps=loads)
        record = served.client().open_loop(served.server.port, pattern.times())
    names = served.profile.names
    report.figure(draw(record, names, loads, seconds))
    report.json({**served.about(), **figures(record, names, loads, seconds)}, seed=chosen.seed)


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
