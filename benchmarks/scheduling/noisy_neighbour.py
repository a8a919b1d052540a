"""How soon do decisions follow a noisy neighbour on the server's core, and how soon do they come back?

    python -m benchmarks.scheduling.noisy_neighbour resnet50-128 --seconds 18

The server may use one core only, and in the middle third of the time a process that never stops computing
shares that core. The load is open loop, from another core; latency counts from when a request was due.
Meanwhile the server is asked how slow it thinks its machine is (`downshift_slowdown_ratio`): when that
moves, decisions have been corrected. Being asked costs the server's only core milliseconds, so it is asked
often only for a second after the neighbour begins and ends.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from benchmarks.harness.experiment import experiment
from benchmarks.harness.neighbour import Neighbour
from benchmarks.harness.report import panels
from benchmarks.scheduling.profiled import network_options, profiled
from downshift.runtime.simulator.arrivals import Arrivals

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from benchmarks.harness.client import Record
    from benchmarks.harness.report import Report
    from benchmarks.harness.server import Server

SERVER_CORE, CLIENT_CORE = 0, 1
WARM_SECONDS = 1.0
WINDOW = 0.5  # seconds over which attainment is taken
GOOD = 0.99
ASK_EVERY, ASK_SOON = 1.0, 0.1  # seconds, in general and just after a change
SETTLED = 1.0  # seconds after a correction by which it must show
SLOW = 1.2  # a slowdown beyond this is one


def pause(now: float, changes: Sequence[float]) -> float:
    """Seconds until the server is asked again: fewer just after a change, and never beyond the next."""
    if any(change <= now < change + SETTLED for change in changes):
        return ASK_SOON
    return min([ASK_EVERY, *(change - now for change in changes if change > now)])


class Watch:
    """Asks the server, from entering to leaving, how slow it thinks its machine is.

    changes: seconds from entering after which it is asked often. seen: when, in seconds since entering, and
    how many times as slow as profiled.
    """

    def __init__(self, server: Server, changes: Sequence[float]) -> None:
        self._server, self._changes = server, changes
        self.seen: list[tuple[float, float]] = []
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _ask(self) -> None:
        begin = time.monotonic()
        while not self._left.wait(pause(time.monotonic() - begin, self._changes)):
            ratio = self._server.metric("downshift_slowdown_ratio")
            self.seen.append((time.monotonic() - begin, ratio))


def corrected(seen: Sequence[tuple[float, float]], begin: float, *, slow: bool) -> float | None:
    """Seconds from `begin` until decisions first held the machine slow, or not slow; None for never."""
    return next((at - begin for at, ratio in seen if at >= begin and (ratio > SLOW) == slow), None)


def attainment(record: Record, budget: float, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share answered in time of the requests due between each two edges; NaN without any."""
    all_due, _ = np.histogram(record.due, edges)
    good, _ = np.histogram(record.due[record.in_time(budget)], edges)
    with np.errstate(invalid="ignore"):
        return np.asarray(good / all_due)


def recovery(record: Record, budget: float, begin: float, end: float) -> float:
    """Seconds after `begin` until all windows up to `end` are good: the last one that is not, ends."""
    edges = np.arange(begin, end + 1e-9, WINDOW)
    bad = np.flatnonzero(attainment(record, budget, edges) < GOOD)
    return float(edges[bad[-1] + 1] - begin) if len(bad) else 0.0


def figures(
    record: Record, seen: Sequence[tuple[float, float]], budget: float, seconds: float
) -> dict[str, Any]:
    """Attainment before, with and after the neighbour, and how long the two changes were felt."""
    thirds = np.linspace(0.0, seconds, 4)
    before, beside, after = attainment(record, budget, thirds)
    first = [attainment(record, budget, np.array([at, at + 1.0]))[0] for at in thirds[1:3]]
    moved = [corrected(seen, at, slow=slow) for at, slow in ((thirds[1], True), (thirds[2], False))]
    since = [
        None if late is None else attainment(record, budget, np.array([at + late + SETTLED, end]))[0]
        for late, at, end in zip(moved, thirds[1:3], thirds[2:4], strict=True)
    ]
    return {
        "attainment before": before,
        "attainment beside the neighbour": beside,
        "attainment after": after,
        "attainment in the neighbour's first second": first[0],
        "attainment in the first second without it": first[1],
        "seconds from the neighbour's begin, and from its end, until decisions were corrected": moved,
        f"attainment from {SETTLED:g} s after either correction on": since,
        f"seconds until attainment was {GOOD:.0%} again in every half second": [
            recovery(record, budget, thirds[1], thirds[2]),
            recovery(record, budget, thirds[2], thirds[3]),
        ],
    }


def draw(
    record: Record,
    seen: Sequence[tuple[float, float]],
    names: Sequence[str],
    budget: float,
    seconds: float,
) -> Figure:
    """Attainment in every half second, who answered, and how slow the server thought its machine was.

    The neighbour is shaded.
    """
    edges = np.arange(0.0, seconds + 1e-9, WINDOW)
    middle = edges[:-1] + WINDOW / 2
    figure, (above, below, last) = panels(3, 1, size=(10.0, 2.5), share_time=True)
    above.plot(middle, 100 * attainment(record, budget, edges), "o-", markersize=3)
    above.set(ylabel="answered in time, %", ylim=(-2, 102))
    counts = [np.histogram(record.due[record.subnet == name], edges)[0] / WINDOW for name in names]
    refused = np.histogram(record.due[record.subnet == ""], edges)[0] / WINDOW
    below.stackplot(middle, [*counts, refused], labels=[*names, "refused"])
    below.set(ylabel="requests per second, by sub-net")
    below.legend(fontsize=7, loc="upper left")
    last.step([at for at, _ in seen], [ratio for _, ratio in seen], where="post")
    last.set(xlabel="seconds", ylabel="slowdown, as decisions have it")
    for axis in (above, below, last):
        axis.axvspan(seconds / 3, 2 * seconds / 3, color="tab:red", alpha=0.12)
    return figure


@contextmanager
def neighbour_between(core: int, begin: float, end: float) -> Iterator[None]:
    """A neighbour that computes between two moments, in seconds from entering."""
    with Neighbour(core) as neighbour:
        timers = [threading.Timer(begin, neighbour.compute), threading.Timer(end, neighbour.pause)]
        for timer in timers:
            timer.start()
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()
                timer.join()


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    network_options(parser)
    parser.add_argument("--load", type=float, default=1.0, help="in capacities of the densest sub-net")
    parser.add_argument("--budget-ms", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=24.0)


def measure(chosen: Namespace, report: Report) -> None:
    """One run: a third alone, a third beside the neighbour, a third alone."""
    budget, seconds = chosen.budget_ms / 1e3, chosen.seconds
    changes = seconds / 3, 2 * seconds / 3
    with profiled(chosen.network, chosen.cache, cores={SERVER_CORE}) as served:
        os.sched_setaffinity(0, {CLIENT_CORE})
        times = Arrivals(chosen.load * served.capacity, seconds, seed=chosen.seed).times()
        client, server = served.client(budget), served.server
        client.open_loop(server.port, times[times < WARM_SECONDS])
        with neighbour_between(SERVER_CORE, *changes), Watch(server, changes) as watch:
            record = client.open_loop(server.port, times)
    report.figure(draw(record, watch.seen, served.profile.names, budget, seconds))
    about = {"requests per second": len(times) / seconds, "budget ms": chosen.budget_ms}
    found = figures(record, watch.seen, budget, seconds)
    report.json({**served.about(), **about, **found}, seed=chosen.seed)


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
