"""What clients and operators notice of a server that is asked for far more than it can do.

    python -m benchmarks.server.responsiveness --network cifar-resnet18 --loads 1 2 10

Open-loop arrivals (Poisson, seeded), every request with the same latency budget, at multiples of what the
densest sub-net can do. A request's latency counts from when it was due, as a client on the same cores sees
it; of refusals also what the server says it took from the first byte on. Meanwhile two processes of their own
ask how the server is, one on its main port, one on its metrics' port, every 20 ms; and its memory is read.
What the scheduler makes of the load (attainment, accuracy) is `benchmarks.scheduling.overload`'s to say.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness.client import HOST, V2Binary
from benchmarks.harness.process import ServerProcess, environment
from benchmarks.harness.random_artifact import main as make_artifact
from downshift.models import artifact as artifacts

if TYPE_CHECKING:
    from collections.abc import Sequence

OK = 200
PROBE_GAP = 0.02


@dataclass
class Record:
    """Latencies in seconds by status, and when something did not go as HTTP goes.

    inside: of these, what the server says it took from a request's first byte, where it says so.
    """

    latencies: dict[int, list[float]] = field(default_factory=dict)
    inside: dict[int, list[float]] = field(default_factory=dict)
    broken: int = 0

    def add(self, status: int, seconds: float, inside: float | None) -> None:
        """One answer."""
        self.latencies.setdefault(status, []).append(seconds)
        if inside is not None:
            self.inside.setdefault(status, []).append(inside)


class OpenLoop:
    """Sends one request, again and again, when each is due; keeps its connections."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def run(self, gaps: Sequence[float]) -> Record:
        """Send as many requests as there are gaps; returns when each has its answer."""
        record, tasks = Record(), []
        due = time.perf_counter()
        for gap in gaps:
            due += gap
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(self._one(due, record)))
        await asyncio.wait(tasks, timeout=60)
        for _, writer in self._free:
            writer.close()
        self._free.clear()
        record.broken += sum(not task.done() for task in tasks)
        return record

    async def _one(self, due: float, record: Record) -> None:
        try:
            reader, writer = (
                self._free.pop() if self._free else await asyncio.open_connection(HOST, self._port)
            )
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"\r\ncontent-length: ")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length))
        except (OSError, asyncio.IncompleteReadError):
            record.broken += 1
            return
        record.add(int(head[9:12]), time.perf_counter() - due, total_seconds(head))
        if b"connection: close" in head.lower():
            writer.close()
        else:
            self._free.append((reader, writer))


def total_seconds(head: bytes) -> float | None:
    """What an answer's `Server-Timing` says about the whole of it."""
    timing = head.lower().partition(b"\r\nserver-timing: ")[2].split(b"\r\n")[0]
    found = re.search(rb"total;dur=([0-9.]+)", timing)
    return float(found[1]) / 1e3 if found else None


def probe(url: str, seconds: float) -> list[float]:
    """Seconds that `/v2/health/live` took, asked over one connection each, every `PROBE_GAP`."""
    taken, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        with urllib.request.urlopen(f"{url}/v2/health/live", timeout=30) as answer:  # noqa: S310 - ours
            assert answer.status == OK  # noqa: S101
            answer.read()
        taken.append(time.perf_counter() - begin)
        time.sleep(PROBE_GAP)
    return taken


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds: median, 99th percentile and worst, and how many."""
    if not seconds:
        return {"count": 0}
    p50, p99 = np.quantile(seconds, (0.5, 0.99)) * 1e3
    return {
        "count": len(seconds),
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
        "max_ms": round(max(seconds) * 1e3, 3),
    }


def measure(
    server: ServerProcess, ports: Sequence[int], request: bytes, gaps: Sequence[float]
) -> dict[str, Any]:
    """One load: what became of the requests, how soon the server said it lives, and its memory."""
    seconds = sum(gaps)
    probes = [
        subprocess.Popen(  # noqa: S603 - this very program
            [
                sys.executable,
                "-m",
                "benchmarks.server.responsiveness",
                "--probe",
                f"http://{HOST}:{port}",
                "--seconds",
                str(seconds),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for port in ports
    ]
    time.sleep(1.5)  # they have to start
    resident: list[int] = []
    stop = asyncio.Event()

    async def all_of_it() -> Record:
        async def watch() -> None:
            while not stop.is_set():
                resident.append(server.resident_bytes)
                await asyncio.sleep(0.1)

        watching = asyncio.create_task(watch())
        record = await OpenLoop(server.port, request).run(gaps)
        stop.set()
        await watching
        return record

    began = time.perf_counter()
    record = asyncio.run(all_of_it())
    took = time.perf_counter() - began
    answered = record.latencies.pop(OK, [])
    rejects = [latency for latencies in record.latencies.values() for latency in latencies]
    live = [quantiles(json.loads(each.communicate(timeout=90)[0])) for each in probes]
    return {
        "rate": round(len(gaps) / seconds, 1),
        "seconds": round(took, 2),
        "goodput": round(len(answered) / took, 1),
        "answered": quantiles(answered),
        "rejected": quantiles(rejects),
        "rejected_at_once": quantiles(record.latencies.get(429, [])),
        "rejected_at_once_inside": quantiles(record.inside.get(429, [])),
        "statuses": {"200": len(answered)} | {str(k): len(v) for k, v in record.latencies.items()},
        "broken": record.broken,
        "live_main_port": live[0],
        "live_metrics_port": live[1],
        "resident_mib": {
            "median": round(statistics.median(resident) / 2**20),
            "max": round(max(resident) / 2**20),
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every load; print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="cifar-resnet18", help="of the synthetic artifact")
    parser.add_argument("--loads", type=float, nargs="+", default=[1.0, 2.0, 10.0])
    parser.add_argument("--budget-ms", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="where artifact and profile are kept between runs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/server/responsiveness.json"))
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.probe:
        print(json.dumps(probe(options.probe, options.seconds)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.cache or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "model.onnx"
        if not path.exists():
            make_artifact([options.network, "--out", str(path)])
        shape = artifacts.read(path).manifest.input.shape
        image = np.random.default_rng(0).standard_normal((1, *shape), np.float32)
        request = V2Binary("model", headers={"X-Latency-Budget-Ms": str(options.budget_ms)}).request(image)
        metrics_port = free_port()
        settings = {"DOWNSHIFT_THREADS": "1", "DOWNSHIFT_METRICS_PORT": str(metrics_port)}
        with ServerProcess([str(path)], folder, settings) as server:
            subnets = json.loads(server.get("/subnets"))["subnets"]
            densest = max(subnet["p50_ms"] for subnet in subnets) / 1e3
            ports = (server.port, metrics_port)
            loads = []
            for load in options.loads:
                count = int(load / densest * options.seconds)
                gaps = np.random.default_rng(options.seed).exponential(densest / load, count).tolist()
                loads.append({"load": load, **measure(server, ports, request, gaps)})
    result = {
        "network": options.network,
        "budget_ms": options.budget_ms,
        "densest_p50_ms": round(densest * 1e3, 3),
        "loads": loads,
        "command": f"python -m benchmarks.server.responsiveness --network {options.network} --loads "
        f"{' '.join(f'{load:g}' for load in options.loads)} --budget-ms {options.budget_ms:g} "
        f"--seconds {options.seconds:g} --seed {options.seed}",
        "environment": environment(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server((HOST, 0)) as probe_:
        return int(probe_.getsockname()[1])


if __name__ == "__main__":
    main()
