"""Whether a measurement had the machine to itself."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

BUSY = 0.05
"""Share of the machine that others may use before a measurement is worth nothing."""


class BusyMachine(Exception):  # noqa: N818 - reads well where it is raised
    """Somebody else computed meanwhile; the text says how much."""


@dataclass(frozen=True)
class Usage:
    """Processor seconds so far: of everybody, and of this process and its children; and the time."""

    all: float
    own: float
    at: float


def usage() -> Usage:
    """Now."""
    times = psutil.cpu_times()
    everything = sum(times) - times.idle - times.iowait - getattr(times, "guest", 0.0)
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    own = sum(one.cpu_times().user + one.cpu_times().system for one in family)
    return Usage(everything, own, time.monotonic())


def check_alone(begin: Usage) -> None:
    """Raise `BusyMachine` if others took more than `BUSY` of the machine since `begin`."""
    end = usage()
    others = (end.all - begin.all) - (end.own - begin.own)
    share = others / ((end.at - begin.at) * (psutil.cpu_count() or 1))
    if share > BUSY:
        raise BusyMachine(
            f"others used {share:.0%} of the machine during the measurement; stop them, run again"
        )
