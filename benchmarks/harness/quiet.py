"""How much of the machine other processes used during a measurement: repeats the disturbed ones."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from benchmarks.harness.errors import BusyMachine

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

BUSY = 0.05
"""Share of the machine that others may use before a measurement is discarded."""


@dataclass(frozen=True)
class Usage:
    """Processor seconds so far: of everybody, and of this process and its children; and the time."""

    all: float
    own: float
    at: float


def usage() -> Usage:
    """What was used until now."""
    times = psutil.cpu_times()
    everything = sum(times) - times.idle - times.iowait - getattr(times, "guest", 0.0)
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    # what a child used counts on when it has ended
    own = sum(sum((t.user, t.system, t.children_user, t.children_system)) for t in map(_times, family))
    return Usage(everything, own, time.monotonic())


def _times(process: psutil.Process) -> Any:
    return process.cpu_times()


def disturbance(begin: Usage) -> float:
    """The share of the machine that others took since `begin`, a virtual machine's neighbours included."""
    end = usage()
    others = (end.all - begin.all) - (end.own - begin.own)
    return max(0.0, others / ((end.at - begin.at) * (psutil.cpu_count() or 1)))


def undisturbed(measure: Callable[[], Result], attempts: int = 3) -> tuple[Result, float]:
    """The least disturbed result of as few attempts as it takes, and its disturbance.

    Raises `BusyMachine` when others took more than `BUSY` of the machine during all of them.
    """
    best: tuple[Result, float] | None = None
    for _ in range(attempts):
        begin = usage()
        result = measure()
        share = disturbance(begin)
        if best is None or share < best[1]:
            best = result, share
        if share <= BUSY:
            return best
    assert best is not None  # noqa: S101 - there is at least one attempt
    raise BusyMachine(
        f"others used {best[1]:.0%} of the machine in the quietest of {attempts} attempts; "
        "stop them, run again"
    )
