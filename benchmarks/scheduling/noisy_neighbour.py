"""A busy neighbour on the server's core: how soon decisions follow, and how soon they come back.

    python -m benchmarks.scheduling.noisy_neighbour resnet50.onnx --cache profiles

The server may use one core only, and in the middle third of the time a process that never stops computing
shares that core. The load is open-loop, from another core; latency counts from when a request was due.
Meanwhile the server is asked how slow it thinks its machine is (`downshift_slowdown_ratio`): when that
moves, decisions have been corrected. Being asked costs the server's only core milliseconds, so it is asked
often only for a second after the neighbour begins and ends. Writes noisy_neighbour.json and
noisy_neighbour.png.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.request import urlopen

import numpy as np

from benchmarks.harness.open_loop import OpenLoop
from benchmarks.harness.real_report import RESULTS, circumstances, keep, panels
from benchmarks.harness.real_server import NoServer, serving
from downshift.models.errors import ModelsError
from downshift.runtime.simulator.arrivals import Arrivals
from downshift.runtime.simulator.comparison import capacity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from benchmarks.harness.open_loop import Record

SERVER_CORE, CLIENT_CORE = 0, 1
WINDOW = 0.5  # seconds over which attainment is taken
GOOD = 0.99
ASK_EVERY, ASK_SOON = 1.0, 0.1  # seconds, in general and just after a change
SETTLED = 1.0  # seconds after a correction by which it must show
SLOW = 1.2  # a slowdown beyond this is one
_SLOWDOWN = re.compile(r"^downshift_slowdown_ratio (\S+)$", re.MULTILINE)
BURN = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile os.getppid() != 1: pass"


class Neighbour:
    """A process that keeps one core busy between two moments; it ends with its parent at the latest."""

    def __init__(self, core: int, begin: float, end: float) -> None:
        self._core = core
        self._process: subprocess.Popen[bytes] | None = None
        self._timers = [threading.Timer(begin, self._begin), threading.Timer(end, self.stop)]

    def start(self) -> None:
        """Count from now."""
        for timer in self._timers:
            timer.start()

    def _begin(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", BURN, str(self._core)])  # noqa: S603 - ourselves

    def stop(self) -> None:
        """End it, if it runs, and never begin again."""
        self._timers[0].cancel()
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def pause(now: float, changes: Sequence[float]) -> float:
    """Seconds until the server is asked again: few for a second after a change, and never beyond the next."""
    if any(change <= now < change + SETTLED for change in changes):
        return ASK_SOON
    return min([ASK_EVERY, *(change - now for change in changes if change > now)])


class Watch:
    """Asks the server, from entering to leaving, how slow it thinks its machine is.

    changes: seconds from entering after which it is asked often. seen: when, in seconds since entering, and
    how many times as slow as profiled.
    """

    def __init__(self, url: str, changes: Sequence[float]) -> None:
        self._changes = changes
        self.seen: list[tuple[float, float]] = []
        self._url = f"{url}/metrics"
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
            with urlopen(self._url) as answer:  # noqa: S310 - the server we started
                found = _SLOWDOWN.search(answer.read().decode())
            if found:
                self.seen.append((time.monotonic() - begin, float(found[1])))


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
    figure, (above, below, last) = panels(3, 1, share_time=True)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scheduling.noisy_neighbour",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "artifact", type=Path, help="a model.onnx, as benchmarks.harness.random_artifact makes"
    )
    parser.add_argument("--cache", type=Path, required=True, help="a folder for the server's profile")
    parser.add_argument("--load", type=float, default=1.0, help="in capacities of the densest sub-net")
    parser.add_argument("--budget-ms", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    budget, seconds = chosen.budget_ms / 1e3, chosen.seconds
    try:
        with serving(chosen.artifact, chosen.cache, cores={SERVER_CORE}) as server:
            os.sched_setaffinity(0, {CLIENT_CORE})
            times = Arrivals(chosen.load * capacity(server.profile), seconds, seed=chosen.seed).times()
            headers = {"X-Latency-Budget-Ms": f"{chosen.budget_ms:g}"}
            neighbour = Neighbour(SERVER_CORE, seconds / 3, 2 * seconds / 3)
            client = OpenLoop(server.url, [server.request(seed, headers) for seed in range(4)])
            client.drive(times[times < 1.0])  # warm
            neighbour.start()
            try:
                with Watch(server.url, [seconds / 3, 2 * seconds / 3]) as watch:
                    record = client.drive(times)
            finally:
                neighbour.stop()
    except (ModelsError, NoServer) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = figures(record, watch.seen, budget, seconds)
    document = {
        **circumstances("noisy_neighbour", arguments, server),
        "requests per second": len(times) / seconds,
        "budget ms": chosen.budget_ms,
        "seed": chosen.seed,
        **found,
    }
    picture = draw(record, watch.seen, server.profile.names, budget, seconds)
    keep(chosen.out, "noisy_neighbour", document, picture)
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
