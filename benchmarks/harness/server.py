"""Starts servers: each a process tree of its own, from its first answer to its end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.harness.connections import HOST, OK
from benchmarks.harness.errors import NotServing, WrongAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

READY_SECONDS, END_SECONDS = 180.0, 15.0
NOTHING: Mapping[str, str] = MappingProxyType({})
_URL = re.compile(r"^Open:\s+\S+:(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Server:
    """A server that answers on `port`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds of its whole process tree so far."""
        seconds = 0.0
        for member in _family(self.process.pid):
            try:
                times = member.cpu_times()
            except psutil.NoSuchProcess:
                continue
            seconds += times.user + times.system
        return seconds

    @property
    def resident_bytes(self) -> int:
        """Memory of its first process now."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def get(self, path: str) -> bytes:
        """The body of an answer; raises `urllib.error.HTTPError` for any status that is no success."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:  # noqa: S310 - ours
            return bytes(answer.read())

    def post(self, path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        """Status and JSON of the answer to an empty object, whatever the status."""
        request = urllib.request.Request(f"{self.url}{path}", b"{}", dict(headers))  # noqa: S310 - ours
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.loads(refused.read())

    def metric(self, name: str) -> float:
        """The sum of all series of that name in /metrics; raises `NotServing` where there is none."""
        series = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", self.get("/metrics").decode(), re.MULTILINE)
        if not series:
            raise NotServing(f"{self.url}/metrics has no {name}")
        return sum(map(float, series))

    def stop(self) -> str:
        """Ask it to end, wait until it has, and return its log."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def serving(  # noqa: PLR0913 - all but two have defaults
    command: Sequence[str],
    log: Path,
    *,
    port: int | None = None,
    ready: Callable[[int], object] = lambda _: True,
    environment: Mapping[str, str] = NOTHING,
    cores: set[int] | None = None,
) -> Iterator[Server]:
    """The server that the command starts, when it is ready; it is ended with its children.

    port: where it listens, by default the one it prints after `Open:`. ready: asked until it is true; an
    `OSError` or a `WrongAnswer` is not yet. environment: beside the inherited one without DOWNSHIFT_*. cores:
    those it may use. Raises `NotServing` when it ends or is not ready within `READY_SECONDS`.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DOWNSHIFT_")}
    log.parent.mkdir(parents=True, exist_ok=True)
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or mine)  # inherited
    try:
        with log.open("wb") as said:
            process = subprocess.Popen(  # noqa: S603 - commands of these benchmarks
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**inherited, "OMP_NUM_THREADS": "1", **environment},
                start_new_session=True,
            )
    finally:
        os.sched_setaffinity(0, mine)
    try:
        yield Server(process, _await(process, port, ready, log), log)
    finally:
        _end(process)


@contextmanager
def downshift(  # noqa: PLR0913 - all but two have defaults
    model: Path,
    folder: Path,
    settings: Mapping[str, str] = NOTHING,
    *,
    threads: int = 1,
    cores: set[int] | None = None,
    module: str = "downshift",
) -> Iterator[Server]:
    """`downshift serve` on a free port, its profile and its log in `folder`; raises `NotServing`.

    settings: environment variables. module: what is run.
    """
    command = [sys.executable, "-m", module, "serve", str(model), "--port", "0", "--threads", str(threads)]
    environment = {"DOWNSHIFT_CACHE_DIR": str(folder), **settings}
    with serving(command, folder / "server.log", environment=environment, cores=cores) as server:
        yield server


def is_ready(port: int) -> bool:
    """Whether a server of the V2 protocol, or the proxy before it, says that it is ready."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/v2/health/ready", timeout=5) as answer:
            return bool(answer.status == OK)
    except urllib.error.HTTPError:  # still loading
        return False


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until_tuned(server: Server, seconds: float = 120.0) -> None:
    """Return when Downshift has tuned its programs in the background; raises `NotServing`."""
    end = time.monotonic() + seconds
    while server.metric("downshift_tuning_progress_ratio") < 1.0:
        if time.monotonic() > end:
            raise NotServing(f"it is still tuning after {seconds:.0f} s")
        time.sleep(0.5)


def _await(
    process: subprocess.Popen[bytes], port: int | None, ready: Callable[[int], object], log: Path
) -> int:
    """The port, when the server is ready."""
    end, last = time.monotonic() + READY_SECONDS, "it says nothing of a port"
    while True:
        said = log.read_text(encoding="utf-8", errors="replace")
        printed = _URL.search(said)
        found = port or (int(printed[1]) if printed else None)
        try:
            if found is not None and ready(found):
                return found
        except (OSError, WrongAnswer) as error:  # some accept connections before they can answer
            last = str(error)
        if process.poll() is not None or time.monotonic() > end:
            raise NotServing(f"{' '.join(map(str, process.args))}: {last}\n{said[-2000:]}")  # type: ignore[arg-type]
        time.sleep(0.1)


def _family(pid: int) -> list[psutil.Process]:
    """The process and all that descend from it."""
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _end(process: subprocess.Popen[bytes]) -> None:
    members = _family(process.pid)
    process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(members, timeout=END_SECONDS)
    for member in alive:
        member.kill()
    process.wait()
