"""Does a fault of one of two replicas lose a request? Envoy and HAProxy with the configurations of deploy/.

    python -m benchmarks.server.replicas downshift/models/zoo/cifar10-resnet20.onnx

Requests leave at a constant rate (open loop) with a latency budget. After a third of the time a fault strikes
the first replica: kill -9, SIGTERM, a hot swap of its model, or SIGSTOP for a second; or the rate rises. One
process without a proxy stands beside them, as far as it survives, and a server of two workers
(`--workers 2`), whose first worker is struck. Every answer is checked. Lost: no answer, or an error that is
neither 429 (shed) nor 504 (the budget is over). Late: 504, or an answer after the budget.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import psutil

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
    from contextlib import AbstractContextManager

    from benchmarks.harness.client import Record
    from benchmarks.harness.report import Report
    from benchmarks.harness.settings import Setting

ONE, WORKERS = "one process", "two workers"
KEY = {"X-API-Key": "swapping-admin-key"}
SHED, EXPIRED = 429, 504
STOP_SECONDS = 1.0
GRACE_SECONDS = 30.0
CONNECTIONS = 64
COUNT = 2  # replicas, or workers
OVERLOAD = 10.0  # times the rate
HOPS = 20  # requests after which least request has asked both replicas
BACK_SECONDS = 60.0


class Group(Protocol):
    """Processes that serve the same model, of which a fault strikes the first."""

    @property
    def struck(self) -> int:
        """The first process, by its number."""
        ...

    def await_end(self, process: int) -> None:
        """Return when that process has ended."""
        ...

    def swap(self) -> None:
        """Load the model's file again; raises `ExperimentError` where that fails."""
        ...

    def revive(self) -> bool:
        """Let those serve again that have ended; returns whether there were any to start."""
        ...

    def all_serve(self, ask: Callable[[], object]) -> bool:
        """Whether all take part in what `ask` asks."""
        ...


def kill(group: Group) -> None:
    """kill -9: the process is gone with all it holds."""
    process = group.struck
    os.kill(process, signal.SIGKILL)
    group.await_end(process)


def terminate(group: Group) -> None:
    """SIGTERM: it drains and ends."""
    process = group.struck
    os.kill(process, signal.SIGTERM)
    group.await_end(process)


def swap(group: Group) -> None:
    """See `Group.swap`."""
    group.swap()


def freeze(group: Group) -> None:
    """SIGSTOP for a second: connections stay, nobody answers."""
    process = group.struck
    os.kill(process, signal.SIGSTOP)
    time.sleep(STOP_SECONDS)
    os.kill(process, signal.SIGCONT)


FAULTS: Mapping[str, Callable[[Group], None]] = {
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

    @property
    def struck(self) -> int:
        """See `Group`."""
        return self.servers[0].process.pid

    def await_end(self, process: int) -> None:
        """See `Group`; it is a child of this process."""
        next(each.process for each in self.servers if each.process.pid == process).wait(60)

    def swap(self) -> None:
        """See `Group`."""
        status, answer = self.servers[0].post(f"/v2/repository/models/{MODEL}/load", KEY)
        if status != OK:
            raise ExperimentError(f"the hot swap ended with status {status}: {answer}")

    def all_serve(self, ask: Callable[[], object]) -> bool:
        """See `Group`: each has more requests than before."""
        before = [server.metric("downshift_requests_total") for server in self.servers]
        ask()
        now = [server.metric("downshift_requests_total") for server in self.servers]
        return all(after > counted for after, counted in zip(now, before, strict=True))

    def revive(self) -> bool:
        """Start those again that have ended, at their old ports; returns whether there were any."""
        dead = [number for number, server in enumerate(self.servers) if server.process.poll() is not None]
        for number in dead:
            self.servers[number] = self._start(number, self.servers[number].port)
        return bool(dead)

    def _start(self, number: int, port: int) -> Server:
        keys = {"DOWNSHIFT_ADMIN_KEYS": KEY["X-API-Key"]}
        log = self._folder / f"replica-{number}-{time.monotonic_ns()}.log"
        return self._stack.enter_context(started(self._setting, port, log, keys))


class Workers:
    """One server whose two workers share its port."""

    def __init__(self, setting: Setting, folder: Path, stack: ExitStack) -> None:
        self._setting, self._log = setting, folder / "workers.log"
        self.port = free_port()
        settings = {"DOWNSHIFT_WORKERS": str(COUNT)}
        self._server = stack.enter_context(started(setting, self.port, self._log, settings))

    @property
    def struck(self) -> int:
        """See `Group`."""
        children = psutil.Process(self._server.process.pid).children()
        return next(each.pid for each in children if "spawn_main" in " ".join(each.cmdline()))

    def await_end(self, process: int) -> None:
        """See `Group`; its manager waits for it."""
        psutil.wait_procs([psutil.Process(process)] if psutil.pid_exists(process) else [], timeout=60)

    def swap(self) -> None:
        """See `Group`: the file is touched, and SIGHUP says so to all, who load one after the other."""
        before = self._swapped
        self._setting.path.touch()
        self._server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + BACK_SECONDS
        while self._swapped < before + COUNT:
            if time.monotonic() > end:
                raise ExperimentError("the hot swap did not end")
            time.sleep(0.05)

    def revive(self) -> bool:
        """Nothing to start: the manager does."""
        return False

    def all_serve(self, ask: Callable[[], object]) -> bool:
        """See `Group`."""
        ask()
        return self._server.metric("downshift_worker_up") == COUNT

    @property
    def _swapped(self) -> int:
        return self._log.read_text(encoding="utf-8").count("is served now")


def started(
    setting: Setting, port: int, log: Path, settings: Mapping[str, str]
) -> AbstractContextManager[Server]:
    """A server of the setting's model on that port."""
    command = [
        sys.executable,
        "-m",
        "downshift",
        "serve",
        str(setting.path),
        "--port",
        str(port),
        "--no-tune",
    ]
    environment = {
        "DOWNSHIFT_CACHE_DIR": str(setting.folder),
        "DOWNSHIFT_THREADS": str(setting.threads),
        "DOWNSHIFT_DRAIN_SECONDS": "10",
        "DOWNSHIFT_ENGINES": '["onnxruntime"]',  # what the answers are checked against
        **settings,
    }
    return serving(command, log, port=port, ready=is_ready, environment=environment)


@contextmanager
def fronts(setting: Setting, name: str, folder: Path) -> Iterator[tuple[Group, int]]:
    """The replicas behind that front, and the port that clients ask; raises `NotServing`."""
    with ExitStack() as stack:
        if name == WORKERS:
            workers = Workers(setting, folder, stack)
            yield workers, workers.port
            return
        replicas = Replicas(setting, folder, 1 if name == ONE else COUNT, stack)
        if name == ONE:
            yield replicas, replicas.ports[0]
        else:
            yield replicas, stack.enter_context(PROXIES[name](replicas.ports, folder)).port


def wait_until_all_serve(setting: Setting, group: Group, port: int) -> None:
    """Return when requests through the front reach all; raises `ExperimentError`."""
    asking = setting.v2()
    end = time.monotonic() + BACK_SECONDS
    while not group.all_serve(lambda: asking.open_loop(port, np.arange(HOPS) / 100.0)):
        if time.monotonic() > end:
            raise ExperimentError(f"one of those behind port {port} gets no requests")


def strike(  # noqa: PLR0913 - of one run
    setting: Setting, group: Group, port: int, front: str, fault: str, *,
    rate: float, seconds: float, budget: float,
) -> Row:  # fmt: skip
    """Load with a fault in it; raises `WrongAnswer`, and whatever the fault raises."""
    actual = rate * OVERLOAD if fault == "overload" else rate
    times = np.arange(int(actual * seconds)) / actual
    failures: list[BaseException] = []

    def hit() -> None:
        try:
            FAULTS[fault](group)
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
    parser.add_argument(
        "--fronts", nargs="+", choices=(ONE, WORKERS, *PROXIES), default=[ONE, WORKERS, *PROXIES]
    )
    parser.add_argument("--faults", nargs="+", choices=tuple(FAULTS), default=list(FAULTS))
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=9.0, help="of each run")
    parser.add_argument("--budget", type=float, default=2.0, help="latency budget in seconds")


def measure(chosen: Namespace, report: Report) -> None:
    """Every fault behind every front, then the table of all rows in the file."""
    setting, rows = prepare(chosen.network, chosen.cache, chosen.threads), []
    for front in chosen.fronts:
        with tempfile.TemporaryDirectory() as name, fronts(setting, front, Path(name)) as (group, port):
            for fault in chosen.faults:
                if front == ONE and fault in FATAL:
                    continue
                wait_until_all_serve(setting, group, port)
                rows.append(
                    strike(
                        setting, group, port, front, fault,
                        rate=chosen.rate, seconds=chosen.seconds, budget=chosen.budget,
                    )
                )  # fmt: skip
                print(rows[-1], flush=True)
                group.revive()
    report.markdown(
        "Two replicas behind a proxy, and a fault",
        f"Open loop, budget {chosen.budget:g} s, {chosen.seconds:g} s each; the fault strikes the first "
        "replica after a third. Proxies have the configurations of deploy/. Every answer was checked. "
        "Lost: no answer, or an error other than 429 and 504. Late: 504, or after the budget. One process "
        "has no proxy; faults that end it are left out. Of two workers on one port the first is struck.",
        page(report.csv(rows, Row, lambda row: (row.front, row.fault))),
    )


main = experiment(__doc__, options, measure)


if __name__ == "__main__":
    sys.exit(main())
