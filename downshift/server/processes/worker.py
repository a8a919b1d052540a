"""A worker process: what it is given when it starts, and what it reports."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from downshift.errors import DownshiftError, kind_and_first_line

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection

    from downshift.server.connection.listener import Ports
    from downshift.server.processes.peers import Peers


@dataclass(frozen=True, kw_only=True)
class Worker:
    """What one worker process is given.

    index: counts the workers from 0. peers: all of them. ports: shared by all. pinned: it has cores of its
    own. joins: others answer already. reports: to the manager; None once it answers, or a sentence that says
    why it cannot.
    """

    index: int
    peers: Peers
    ports: Ports
    pinned: bool
    joins: bool
    reports: Connection

    def detach(self) -> None:
        """Leave the terminal's process group, and end when the manager ends.

        Ctrl-C reaches the manager alone, which asks its workers to drain.
        """
        os.setpgid(0, 0)
        parent = multiprocessing.parent_process()
        if parent is not None:
            threading.Thread(target=self._end_after, args=(parent.sentinel,), daemon=True).start()

    def ready(self) -> None:
        """Report that it answers."""
        self.reports.send(None)

    def failed(self, error: Exception) -> None:
        """Report why it cannot start, in a sentence: not every error survives the way to another process."""
        ours = isinstance(error, DownshiftError | OSError)
        self.reports.send(str(error) if ours else kind_and_first_line(error))

    def preparing(self) -> AbstractContextManager[None]:
        """Within, no other worker prepares an artifact."""
        return self.peers.exclusive("preparing")

    def _end_after(self, sentinel: int) -> None:
        wait([sentinel])
        shutil.rmtree(self.peers.folder, ignore_errors=True)  # nobody else is left to remove it
        os.kill(os.getpid(), signal.SIGTERM)
