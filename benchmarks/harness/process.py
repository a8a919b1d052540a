"""The real server as a process of its own, for benchmarks that swap, overload, attack or kill it."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import psutil

from downshift.runtime.machine import this_machine
from downshift.server.telemetry.metrics import software_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

START = "import sys; from downshift.cli.main import app; app(sys.argv[1:])"


class ServerProcess:
    """`downshift serve` on a free port, ready when entered, killed when left.

    url: where it answers. start: Python that ends up in the command line, for faults to be planted.
    """

    def __init__(
        self,
        models: Sequence[str],
        folder: Path,
        settings: Mapping[str, str] | None = None,
        start: str = START,
    ) -> None:
        """folder: for its cache and its log. settings: environment variables."""
        self._log = folder / "server.log"
        self._command = [sys.executable, "-c", start, "serve", *models, "--port", "0"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DOWNSHIFT_")}
        self._environment = kept | {"DOWNSHIFT_CACHE_DIR": str(folder / "cache")} | dict(settings or {})
        self.url = ""

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - this very program
                self._command, stdout=subprocess.PIPE, stderr=log, env=self._environment, text=True
            )
        assert self.process.stdout is not None  # noqa: S101
        for line in self.process.stdout:
            if found := re.match(r"Open:\s+(\S+)", line):
                self.url = found[1]
                return self
        raise RuntimeError(f"the server ended: {self._log.read_text(encoding='utf-8')[-2000:]}")

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    @property
    def resident_bytes(self) -> int:
        """Its memory now."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def get(self, path: str, timeout: float = 30.0) -> bytes:
        """The body of its answer; raises for any status that is no success."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=timeout) as answer:  # noqa: S310 - ours
            return bytes(answer.read())

    def stop(self) -> str:
        """Ask it to end, wait until it has, and return its log."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        return self._log.read_text(encoding="utf-8")


def environment() -> dict[str, Any]:
    """Machine, versions and date, for a committed result."""
    machine = this_machine(1, {})
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": machine.cpu,
        "cores": machine.cores,
        "python": platform.python_version(),
        "downshift": software_version(),
    }
