"""Does a fault of one of two replicas lose a request? Envoy and HAProxy with the configurations of deploy/.

    python -m benchmarks.server.replicas downshift/models/zoo/cifar10-resnet20.onnx

Requests leave at a constant rate (open loop) with a latency budget. After a third of the time a fault strikes
the first replica: kill -9, SIGTERM, a hot swap of its model, or SIGSTOP for a second; or the rate rises. One
process without a proxy stands beside them, as far as it survives. Every answer is checked. Lost: no answer,
or an error that is neither 429 (shed) nor 504 (the budget is over). Late: 504, or an answer after the budget.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness.connections import OK
from benchmarks.harness.errors import ExperimentError
from benchmarks.harness.experiment import experiment, served_options
from benchmarks.harness.proxies import PROXIES
from benchmarks.harness.report import table
from benchmarks.harness.server import Server, free_port, is_ready, serving
from benchmarks.harness.settings import MODEL, prepare

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.harness.client import Record
    from benchmarks.harness.report import Report
    from benchmarks.harness.settings import Setting

ONE = "one process"
KEY = {"X-API-Key": "swapping-admin-key"}
SHED, EXPIRED = 429, 504
STOP_SECONDS = 1.0
GRACE_SECONDS = 30.0
CONNECTIONS = 64
OVERLOAD = 10.0  # times the rate
HOPS = 20  # requests after which least request has asked both replicas
BACK_SECONDS = 60.0


def kill(server: Server) -> None:
    """kill -9: the process is gone with all it holds."""
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()


def terminate(server: Server) -> None:
    """SIGTERM: it drains and ends."""
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(60)


def swap(server: Server) -> None:
    """Load the model's file again; raises `ExperimentError` where that fails."""
    status, answer = server.post(f"/v2/repository/models/{MODEL}/load", KEY)
    if status != OK:
        raise ExperimentError(f"the hot swap ended with status {status}: {answer}")


def freeze(server: Server) -> None:
    """SIGSTOP for a second: connections stay, nobody answers."""
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(STOP_SECONDS)
    server.process.send_signal(signal.SIGCONT)


FAULTS: Mapping[str, Callable[[Server], None]] = {
    "none": lambda _: None,
    "kill -9": kill,
    "SIGTERM": terminate,
    "hot swap": swap,
    "SIGSTOP 1 s": freeze,
    "overload": lambda _: None,
}
FATAL = ("kill -9", "SIGTERM")


@dataclass(frozen=True)
class Row:
    """What became of the requests of one run.

    p50, p99: seconds of the good answers, from when each was due.
    """

    front: str
    fault: str
    rate: float
    requests: int
    p50: float
    p99: float
    lost: int
    late: int
    shed: int


class Replicas:
    """Servers of the same artifact, each at a port of its own, which can be started again."""

    def __init__(self, setting: Setting, folder: Path, count: int, stack: ExitStack) -> None:
        """folder: for logs. stack: ends them."""
        self._setting, self._folder, self._stack = setting, folder, stack
        self.servers = [self._start(number, free_port()) for number in range(count)]

    @property
    def ports(self) -> list[int]:
        """Where they answer."""
        return [server.port for server in self.servers]

    def revive(self) -> bool:
        """Start those again that have ended, at their old ports; returns whether there were any."""
        dead = [number for number, server in enumerate(self.servers) if server.process.poll() is not None]
        for number in dead:
            self.servers[number] = self._start(number, self.servers[number].port)
        return bool(dead)

    def _start(self, number: int, port: int) -> Server:
        path = str(self._setting.path)
        command = [sys.executable, "-m", "downshift", "serve", path, "--port", str(port), "--no-tune"]
        environment = {
            "DOWNSHIFT_CACHE_DIR": str(self._setting.folder),
            "DOWNSHIFT_THREADS": str(self._setting.threads),
            "DOWNSHIFT_ADMIN_KEYS": KEY["X-API-Key"],
            "DOWNSHIFT_DRAIN_SECONDS": "10",
            "DOWNSHIFT_ENGINES": '["onnxruntime"]',  # what the answers are checked against
        }
        log = self._folder / f"replica-{number}-{time.monotonic_ns()}.log"
        return self._stack.enter_context(
            serving(command, log, port=port, ready=is_ready, environment=environment)
        )


@contextmanager
def fronts(setting: Setting, name: str, folder: Path) -> Iterator[tuple[Replicas, int]]:
    """The replicas behind that front, and the port that clients ask; raises `NotServing`."""
    with ExitStack() as stack:
        replicas = Replicas(setting, folder, 1 if name == ONE else 2, stack)
        if name == ONE:
            yield replicas, replicas.ports[0]
        else:
            yield replicas, stack.enter_context(PROXIES[name](replicas.ports, folder)).port


def wait_until_all_serve(setting: Setting, replicas: Replicas, port: int) -> None:
    """Return when requests through the front reach every replica; raises `ExperimentError`."""
    asking = setting.v2()
    end = time.monotonic() + BACK_SECONDS
    while True:
        before = [server.metric("downshift_requests_total") for server in replicas.servers]
        asking.open_loop(port, np.arange(HOPS) / 100.0)
        now = [server.metric("downshift_requests_total") for server in replicas.servers]
        if all(after > counted for after, counted in zip(now, before, strict=True)):
            return
        if time.monotonic() > end:
            raise ExperimentError(f"a replica behind port {port} gets no requests")


def strike(  # noqa: PLR0913 - of one run
    setting: Setting, replicas: Replicas, port: int, front: str, fault: str, *,
    rate: float, seconds: float, budget: float,
) -> Row:  # fmt: skip
    """Load with a fault in it; raises `WrongAnswer`, and whatever the fault raises."""
    actual = rate * OVERLOAD if fault == "overload" else rate
    times = np.arange(int(actual * seconds)) / actual
    failures: list[BaseException] = []

    def hit() -> None:
        try:
            FAULTS[fault](replicas.servers[0])
        except BaseException as error:  # noqa: BLE001  raised again below
            failures.append(error)

    timer = threading.Timer(seconds / 3, hit)
    timer.start()
    client = setting.v2(X_Latency_Budget_Ms=f"{budget * 1e3:.0f}")
    record = client.open_loop(port, times, connections=CONNECTIONS, grace=GRACE_SECONDS)
    timer.join()
    if failures:
        raise failures[0]
    return row_of(record, front, fault, actual, budget)


def row_of(record: Record, front: str, fault: str, rate: float, budget: float) -> Row:
    """The counts of a record."""
    status, latency = record.status, record.latency
    good = status == OK
    lost = (status == 0) | ((status != OK) & (status != SHED) & (status != EXPIRED))
    late = (status == EXPIRED) | (good & (latency > budget))
    p50, p99 = np.quantile(latency[good], (0.5, 0.99)).tolist() if good.any() else (np.nan, np.nan)
    counts = (int(each.sum()) for each in (lost, late, status == SHED))
    return Row(front, fault, rate, len(status), p50, p99, *counts)


def page(rows: Sequence[Row]) -> list[str]:
    """The rows as a table, times in milliseconds."""
    head = ["front", "fault", "requests/s", "requests", "p50 ms", "p99 ms", "lost", "late", "shed"]
    lines = [
        [
            *(row.front, row.fault, f"{row.rate:.0f}", str(row.requests)),
            *(f"{row.p50 * 1e3:.2f}", f"{row.p99 * 1e3:.2f}", str(row.lost), str(row.late), str(row.shed)),
        ]
        for row in rows
    ]
    return table(head, lines)


def options(parser: ArgumentParser) -> None:
    """Of the command line."""
    served_options(parser)
    parser.add_argument("--fronts", nargs="+", choices=(ONE, *PROXIES), default=[ONE, *PROXIES])
    parser.add_argument("--faults", nargs="+", choices=tuple(FAULTS), default=list(FAULTS))
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=9.0, help="of each run")
    parser.add_argument("--budget", type=float, default=2.0, help="latency budget in seconds")


def measure(chosen: Namespace, report: Report) -> None:
    """Every fault behind every front, then the table of all rows in the file."""
    setting, rows = prepare(chosen.network, chosen.cache, chosen.threads), []
    for front in chosen.fronts:
        with tempfile.TemporaryDirectory() as name, fronts(setting, front, Path(name)) as (replicas, port):
            for fault in chosen.faults:
                if front == ONE and fault in FATAL:
                    continue
                wait_until_all_serve(setting, replicas, port)
                rows.append(
                    strike(
                        setting, replicas, port, front, fault,
                        rate=chosen.rate, seconds=chosen.seconds, budget=chosen.budget,
                    )
                )  # fmt: skip
                print(rows[-1], flush=True)
                replicas.revive()
    report.markdown(
        "Two replicas behind a proxy, and a fault",
        f"Open loop, budget {chosen.budget:g} s, {chosen.seconds:g} s each; the fault strikes the first "
        "replica after a third. Proxies have the configurations of deploy/. Every answer was checked. "
        "Lost: no answer, or an error other than 429 and 504. Late: 504, or after the budget. One process "
        "has no proxy; faults that end it are left out.",
        page(report.csv(rows, Row, lambda row: (row.front, row.fault))),
    )


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
