"""What worker processes do in the tests of their manager."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

INTERRUPTED = 7  # the status of `drains`
PATIENCE = 120.0  # after which a forgotten one ends


def answers(reports: Connection) -> None:
    """Answers until it is asked to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    reports.send(None)
    time.sleep(PATIENCE)


def answers_late(reports: Connection) -> None:
    """Answers after a second."""
    time.sleep(1.0)
    answers(reports)


def hangs(_: Connection) -> None:
    """Never answers."""
    time.sleep(PATIENCE)


def drains(reports: Connection) -> None:
    """Goes on when it is asked to end, as one that has requests, until it is told to stop at once."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: sys.exit(INTERRUPTED))
    reports.send(None)
    time.sleep(PATIENCE)


def dies(_: Connection) -> None:
    """Ends before it answers."""
    os._exit(3)


def refuses(reports: Connection) -> None:
    """Cannot start, and says why."""
    reports.send("no model to serve: name a file")
    sys.exit(1)


def stays(reports: Connection) -> None:
    """Answers, and does not end when it is asked to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reports.send(None)
    time.sleep(PATIENCE)
