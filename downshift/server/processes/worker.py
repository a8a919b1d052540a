"""A worker process: what it is given when it starts, and what it reports."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

from downshift.errors import DownshiftError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from prometheus_client.metrics_core import Metric

    from downshift.server.connection.listener import Ports
    from downshift.server.processes.peers import Peers


@dataclass(frozen=True, kw_only=True)
class Worker:
    """What one worker process is given.

    index: counts the workers from 0. peers: all of them. ports: shared by all. replaces: another has died,
    and the rest answer meanwhile. reports: to the manager; None once it answers, or a sentence that says why
    it cannot.
    """

    index: int
    peers: Peers
    ports: Ports
    replaces: bool
    reports: Connection

    def others(self) -> Iterator[tuple[int, list[Metric] | None]]:
        """The metrics of the other workers; None of one that does not answer."""
        return self.peers.metrics(without=self.index)

    def settle(self) -> None:
        """Leave the terminal's process group, and end when the manager ends.

        Ctrl-C reaches the manager, which asks its workers to drain; sent to all of them, it would be the
        second signal, which ends a worker at once.
        """
        os.setpgid(0, 0)
        parent = multiprocessing.parent_process()
        if parent is not None:
            threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()

    def ready(self) -> None:
        """Report that it answers."""
        self.reports.send(None)

    def failed(self, error: Exception) -> None:
        """Report why it cannot start, in a sentence: not every error survives the way to another process."""
        ours = isinstance(error, DownshiftError | OSError)
        self.reports.send(str(error) if ours else f"{type(error).__name__}: {first_line(error)}")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Within, no other worker prepares an artifact; one that dies gives its turn back."""
        with Path(self.peers.folder, "turn").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
