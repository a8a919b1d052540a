"""Requests without a budget on the real server: sparser sub-nets as load rises, and back, without flapping.

    python -m benchmarks.scheduling.load_levels resnet50.onnx --cache profiles

The load goes through steps, in capacities of the densest sub-net; it is open-loop, and no request says how
long it may take. Who answers tells the level. The level may go up and down within a step as well, where the
load lies between what two sub-nets can bear: how often it turns round is counted. Writes load_levels.json and
load_levels.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

WINDOW = 0.25  # seconds over which sub-nets are counted for the picture


def levels(record: Record, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """When each answer came, ascending, and how many sub-nets below the densest gave it."""
    answered = np.flatnonzero(record.subnet != "")
    order = answered[np.argsort(record.ended[answered], kind="stable")]
    return record.ended[order], np.array([names.index(name) for name in record.subnet[order]], np.int64)


def turns(path: Sequence[int]) -> int:
    """How often a path of levels turns round: from up to down or from down to up."""
    steps = [after - before for before, after in pairwise(path) if after != before]
    return sum((before > 0) != (after > 0) for before, after in pairwise(steps))


def figures(record: Record, names: Sequence[str], loads: Sequence[float], seconds: float) -> dict[str, Any]:
    """For each step of the load: who answered, how long it took, and how calm the level was."""
    ended, level = levels(record, names)
    edges = np.linspace(0.0, seconds, len(loads) + 1)
    found = []
    for load, (begin, end) in zip(loads, pairwise(edges), strict=True):
        now, due = (ended >= begin) & (ended < end), (record.due >= begin) & (record.due < end)
        took = (record.ended - record.due)[due & (record.subnet != "")]
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
    figure, (above, below) = panels(2, 1, share_time=True)
    ended, level = levels(record, names)
    edges = np.arange(0.0, seconds + 1e-9, WINDOW)
    counts = [np.histogram(ended[level == i], edges)[0] / WINDOW for i in range(len(names))]
    above.stackplot(edges[:-1] + WINDOW / 2, counts, labels=names)
    above.set(ylabel="answers per second, by sub-net")
    above.legend(fontsize=7, loc="upper left")
    below.plot(record.due, 1e3 * (record.ended - record.due), ".", markersize=2)
    below.set(xlabel="seconds", ylabel="a request took, ms")
    for load, begin in zip(loads, np.linspace(0.0, seconds, len(loads) + 1), strict=False):
        below.axvline(begin, color="tab:gray", linewidth=0.8)
        below.annotate(f"{load:g}x", (begin, 1.0), xycoords=("data", "axes fraction"), va="top")
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scheduling.load_levels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "artifact", type=Path, help="a model.onnx, as benchmarks.harness.random_artifact makes"
    )
    parser.add_argument("--cache", type=Path, required=True, help="a folder for the server's profile")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 2.0, 3.5, 2.0, 0.5])
    parser.add_argument("--seconds", type=float, default=25.0, help="for all steps together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    loads, seconds = tuple(chosen.loads), chosen.seconds
    try:
        with serving(chosen.artifact, chosen.cache) as server:
            pattern = Arrivals(capacity(server.profile), seconds, seed=chosen.seed, steps=loads)
            client = OpenLoop(server.url, [server.request(seed, {}) for seed in range(4)])
            record = client.drive(pattern.times())
    except (ModelsError, NoServer) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names = server.profile.names
    found = figures(record, names, loads, seconds)
    document = {
        **circumstances("load_levels", arguments, server),
        "capacity of the densest, 1/s": capacity(server.profile),
        "seed": chosen.seed,
        **found,
    }
    keep(chosen.out, "load_levels", document, draw(record, names, loads, seconds))
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
