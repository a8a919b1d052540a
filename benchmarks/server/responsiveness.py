"""How soon does an overloaded server refuse and say that it lives, and how much memory does it take?

    python -m benchmarks.server.responsiveness cifar-resnet18 --loads 1 2 10

Open loop: Poisson arrivals, seeded, every request with the same latency budget, at multiples of what the
densest sub-net can do. A request's latency counts from when it was due, as a client on the same cores sees
it; of refusals also what the server says it took from the first byte on. Meanwhile two processes of their own
ask every 20 ms whether the server lives, one on its main port, one on its metrics' port; and its memory is
read. What the scheduler makes of the load (attainment, accuracy): `benchmarks.scheduling.overload`.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import threading
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness.connections import OK
from benchmarks.harness.experiment import experiment, served_options
from benchmarks.harness.server import Server, downshift, free_port
from benchmarks.harness.settings import prepare

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.harness.client import Client, Record
    from benchmarks.harness.report import Report

PROBE_GAP, MEMORY_GAP = 0.02, 0.1  # seconds
CONNECTIONS, GRACE = 1000, 60.0
REFUSED = 429


def probe(url: str, seconds: float) -> list[float]:
    """Seconds that `/v2/health/live` took, asked over one connection each, every `PROBE_GAP`."""
    taken, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        with urllib.request.urlopen(f"{url}/v2/health/live", timeout=30) as answer:  # noqa: S310 - ours
            answer.read()
        taken.append(time.perf_counter() - begin)
        time.sleep(PROBE_GAP)
    return taken


def quantiles(seconds: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """Milliseconds: median, 99th percentile and worst, and how many; those that are no number left out."""
    known = np.asarray(seconds)[np.isfinite(seconds)]
    if not len(known):
        return {"count": 0}
    p50, p99, worst = (round(float(each), 3) for each in np.quantile(known, (0.5, 0.99, 1.0)) * 1e3)
    return {"count": len(known), "p50_ms": p50, "p99_ms": p99, "max_ms": worst}


def under_load(
    server: Server, metrics_port: int, client: Client, times: NDArray[np.float64]
) -> dict[str, Any]:
    """One load: what became of the requests, how soon the server said it lives, and its memory."""
    resident: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(MEMORY_GAP):
            resident.append(server.resident_bytes)

    urls = [f"http://127.0.0.1:{port}" for port in (server.port, metrics_port)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(urls), mp_context=spawn) as pool:
        list(pool.map(probe, urls, [0.1] * len(urls)))  # the processes have started
        watching = threading.Thread(target=watch)
        watching.start()
        live = [pool.submit(probe, url, float(times[-1])) for url in urls]
        try:
            record = client.open_loop(server.port, times, connections=CONNECTIONS, grace=GRACE)
        finally:
            over.set()
            watching.join()
        main, metrics = (quantiles(each.result()) for each in live)
    return {
        **figures(record),
        "live_main_port": main,
        "live_metrics_port": metrics,
        "resident_mib": {
            "median": round(statistics.median(resident) / 2**20),
            "max": round(max(resident) / 2**20),
        },
    }


def figures(record: Record) -> dict[str, Any]:
    """What became of the requests: rates, latencies by outcome, statuses."""
    answered, refused = record.status == OK, record.status == REFUSED
    took = float(record.ended[np.isfinite(record.ended)].max(initial=record.due[-1]))
    statuses, counts = np.unique(record.status[record.status > 0], return_counts=True)
    return {
        "rate": round(len(record.due) / float(record.due[-1]), 1),
        "seconds": round(took, 2),
        "goodput": round(int(answered.sum()) / took, 1),
        "answered": quantiles(record.latency[answered]),
        "rejected": quantiles(record.latency[~answered]),
        "rejected_at_once": quantiles(record.latency[refused]),
        "rejected_at_once_inside": quantiles(record.inside[refused]),
        "statuses": {str(status): int(count) for status, count in zip(statuses, counts, strict=True)},
        "broken": int((record.status == 0).sum()),
    }


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    served_options(parser, None)
    parser.add_argument("--loads", type=float, nargs="+", default=[1.0, 2.0, 10.0], help="of the densest's")
    parser.add_argument("--budget-ms", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--seed", type=int, default=0)


def measure(chosen: Namespace, report: Report) -> None:
    """One load after the other on one server."""
    setting, metrics_port, loads = prepare(chosen.network, chosen.cache), free_port(), []
    client = setting.v2(X_Latency_Budget_Ms=f"{chosen.budget_ms:g}")
    told = {"DOWNSHIFT_METRICS_PORT": str(metrics_port)}
    with downshift(setting.path, setting.folder, told) as server:
        subnets = json.loads(server.get("/subnets"))["subnets"]
        densest = max(subnet["p50_ms"] for subnet in subnets) / 1e3
        for load in chosen.loads:
            gaps = np.random.default_rng(chosen.seed).exponential(
                densest / load, max(1, int(load / densest * chosen.seconds))
            )
            loads.append({"load": load, **under_load(server, metrics_port, client, gaps.cumsum())})
    report.json(
        {
            "network": setting.name,
            "budget_ms": chosen.budget_ms,
            "densest_p50_ms": round(densest * 1e3, 3),
            "loads": loads,
        },
        seed=chosen.seed,
    )


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
