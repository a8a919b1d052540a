"""A process that keeps one core busy: the noisy neighbour of an experiment."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Self

import psutil

# It ends with its parent at the latest.
BURN = """
import os, sys
core, parent = map(int, sys.argv[1:])
os.sched_setaffinity(0, {core})
while os.getppid() == parent: pass
"""


class Neighbour:
    """A process bound to one core that, while it may, never stops computing; at first it may not."""

    def __init__(self, core: int) -> None:
        self._core = core

    def __enter__(self) -> Self:
        command = [sys.executable, "-c", BURN, str(self._core), str(psutil.Process().pid)]
        self._process = subprocess.Popen(command)  # noqa: S603 - ourselves
        self.pause()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def compute(self) -> None:
        """Until `pause`."""
        self._process.send_signal(signal.SIGCONT)

    def pause(self) -> None:
        """Leave the core alone."""
        self._process.send_signal(signal.SIGSTOP)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def used(self) -> float:
        """Processor seconds so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)
