"""The servers that are compared: each a process tree of its own, started, asked until it answers, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil

from benchmarks.harness.client import NestedJson, RawBytes, V2Binary, V2Json, WrongAnswer
from downshift.server.telemetry.metrics import software_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.harness.client import Client, Wire

SERVERS = Path(__file__).parents[1] / "server" / "stacks"
READY_SECONDS = 180.0
END_SECONDS = 15.0
MODEL = "model"
BUDGET_MS = 50
"""What a request grants where our server may choose the sub-net."""


@dataclass(frozen=True)
class Setting:
    """What is served, equal for all.

    artifact: for our server, called `MODEL`. dense: its densest sub-net as plain ONNX, for everybody else.
    densest: that sub-net's name. folder: for profiles and logs. environments: where `<package>/bin/python` of
    each rival is.
    """

    artifact: Path
    dense: Path
    densest: str
    threads: int
    folder: Path
    environments: Path


class Stack(Protocol):
    """One way to serve the model."""

    @property
    def name(self) -> str:
        """What the tables call it."""
        ...

    def wire(self, setting: Setting) -> Wire:
        """How it is asked."""
        ...

    def command(self, setting: Setting, port: int) -> list[str]:
        """What starts it."""
        ...

    def environment(self, setting: Setting, port: int) -> dict[str, str]:
        """Variables it is told with."""
        ...

    def version(self, setting: Setting) -> str:
        """Of what is installed."""
        ...


@dataclass(frozen=True)
class Rival:
    """Another server on onnxruntime; package: the distribution whose version counts."""

    name: str
    package: str
    script: str
    asked: Wire = field(default_factory=RawBytes)

    def wire(self, setting: Setting) -> Wire:  # noqa: ARG002 - the protocol's
        """See `Stack`."""
        return self.asked

    def command(self, setting: Setting, port: int) -> list[str]:  # noqa: ARG002 - the protocol's
        """See `Stack`."""
        return [str(self._python(setting)), str(SERVERS / self.script)]

    def environment(self, setting: Setting, port: int) -> dict[str, str]:
        """See `Stack`."""
        return {
            "BENCH_MODEL": str(setting.dense),
            "BENCH_PORT": str(port),
            "BENCH_THREADS": str(setting.threads),
            "PYTHONPATH": str(SERVERS),
        }

    def version(self, setting: Setting) -> str:
        """See `Stack`."""
        show = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        asked = subprocess.run(  # noqa: S603 - an interpreter of this benchmark
            [self._python(setting), "-c", show], capture_output=True, text=True, check=True
        )
        return asked.stdout.strip()

    def _python(self, setting: Setting) -> Path:
        return setting.environments / self.package / "bin" / "python"


@dataclass(frozen=True)
class Ours:
    """Our server. dense: only onnxruntime, always the densest sub-net; else whatever the budget allows."""

    name: str
    dense: bool
    json: bool = False

    def wire(self, setting: Setting) -> Wire:
        """See `Stack`."""
        headers = {"X-Subnet": setting.densest} if self.dense else {"X-Latency-Budget-Ms": str(BUDGET_MS)}
        return (V2Json if self.json else V2Binary)(MODEL, headers=headers)

    def command(self, setting: Setting, port: int) -> list[str]:
        """See `Stack`."""
        start = "from downshift.cli.main import app; app()"
        return [sys.executable, "-c", start, "serve", str(setting.artifact), "--port", str(port)]

    def environment(self, setting: Setting, port: int) -> dict[str, str]:  # noqa: ARG002 - the protocol's
        """See `Stack`."""
        engines = {"DOWNSHIFT_ENGINES": '["onnxruntime"]'} if self.dense else {}
        return {
            "DOWNSHIFT_THREADS": str(setting.threads),
            "DOWNSHIFT_CACHE_DIR": str(setting.folder),
            **engines,
        }

    def version(self, setting: Setting) -> str:  # noqa: ARG002 - the protocol's
        """See `Stack`."""
        return software_version()


OURS = (
    Ours("Downshift, dense", dense=True),
    Ours("Downshift, dense, JSON", dense=True, json=True),
    Ours("Downshift", dense=False),
)
RIVALS = (
    Rival("LitServe", "litserve", "with_litserve.py", RawBytes("/predict")),
    Rival("MLServer", "mlserver", "with_mlserver.py", V2Json(MODEL)),
    Rival("BentoML", "bentoml", "with_bentoml.py", NestedJson()),
    Rival("Ray Serve", "ray", "with_ray.py"),
    Rival("Mosec", "mosec", "with_mosec.py", RawBytes("/inference")),
    Rival("Starlette", "starlette", "with_starlette.py"),
)


class NotServing(Exception):  # noqa: N818 - reads well where it is raised
    """A server that does not answer; the text has the end of what it said."""


@dataclass(frozen=True)
class Served:
    """A server that answers on `port`."""

    port: int
    process: subprocess.Popen[bytes]

    def cpu(self) -> float:
        """Processor seconds of its whole process tree so far."""
        seconds = 0.0
        for member in family(self.process.pid):
            try:
                times = member.cpu_times()
            except psutil.NoSuchProcess:
                continue
            seconds += times.user + times.system
        return seconds


def family(pid: int) -> list[psutil.Process]:
    """The process and all that descend from it."""
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def serving(
    command: Sequence[str], port: int, client: Client, log: Path, environment: Mapping[str, str]
) -> Iterator[Served]:
    """The server that the command starts, from its first right answer to its end.

    Raises `NotServing` when there is none within `READY_SECONDS`, `WrongAnswer` when it is wrong.
    """
    with log.open("wb") as said:
        process = subprocess.Popen(  # noqa: S603 - commands of this benchmark
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            start_new_session=True,
        )
    try:
        _await(process, port, client, log)
        yield Served(port, process)
    finally:
        _end(process)


def _await(process: subprocess.Popen[bytes], port: int, client: Client, log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            answered = client.run(port, 1, 0.0)
        except OSError as error:
            last: object = error
        except WrongAnswer as error:  # some accept connections before they can answer
            last = error
        else:
            if answered.latencies:
                return
            last = f"status {list(answered.refused)}"
        if process.poll() is not None or time.monotonic() > end:
            text = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise NotServing(f"{' '.join(map(str, process.args))}: {last}\n{text}")  # type: ignore[arg-type]
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    members = family(process.pid)
    process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(members, timeout=END_SECONDS)
    for member in alive:
        member.kill()
    process.wait()
