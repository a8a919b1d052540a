"""Failover: programs whose device fails again and again make way for those of other engines."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from downshift.runtime.engines.engine import OnDevice
from downshift.runtime.errors import DeviceFault, OutOfDeviceMemory, ProfileError
from downshift.runtime.scheduling.circuit_breaker import FAILURES, CircuitBreaker
from downshift.runtime.scheduling.observer import NullObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from downshift.runtime.engines.programs import Pair, Programs
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.lifecycle import Batch

log = logging.getLogger(__name__)


class Failover(NullObserver):
    """Observes a scheduler, and gives it other programs when a circuit breaker opens.

    For want of memory one program goes. Any other fault takes all programs on that device along, as CUDA's
    errors stay with the process. What is out of service stays so until the artifact is loaded again.
    """

    def __init__(
        self,
        profile: Profile,
        programs: Sequence[Programs],
        adopt: Callable[[Profile, Sequence[Programs]], None],
        retired: Callable[[str, str], None],
        give_up: Callable[[], None],
    ) -> None:
        """programs: of every executor. adopt: given what serves from now on. retired: told each program that
        does not any more. give_up: called when none is left.
        """
        self._profile, self._programs = profile, tuple(programs)
        self._adopt, self._retired, self._give_up = adopt, retired, give_up
        self._breaker = CircuitBreaker()
        self._dead: frozenset[Pair] = frozenset()
        self._lock = threading.Lock()  # guards all of these: every executor reports here

    def finished(self, batch: Batch, seconds: float, error: Exception | None) -> None:  # noqa: ARG002
        """Count what a device failed with; whatever else an engine raises is a request's own matter."""
        pair = batch.subnet, batch.engine
        with self._lock:
            if error is None:
                self._breaker.succeeded(pair, batch.examples)
            elif not isinstance(error, DeviceFault) or pair in self._dead:
                pass
            elif self._breaker.failed(pair, batch.examples):
                self._take_out(pair, error)

    def replaced(
        self, profile: Profile, programs: Sequence[Programs]
    ) -> tuple[Profile, tuple[Programs, ...]]:
        """What is to serve instead, without those that are out of service; raises `ProfileError` for none."""
        with self._lock:
            left = tuple(each.without(self._dead) for each in programs)
            self._profile = profile.only(left[0].pairs) if self._dead else profile
            self._programs = left
            return self._profile, left

    def _take_out(self, pair: Pair, error: DeviceFault) -> None:
        first = self._programs[0]
        alone, pairs = isinstance(error, OutOfDeviceMemory), first.pairs
        out = frozenset({pair} if alone else _neighbours(first, pair))
        self._dead |= out
        log.error(
            "%d device failures in a row, the last: %s; out of service from now on: %s; load the model again "
            "to try them again",
            FAILURES,
            error,
            ", ".join(f"{subnet} on {engine}" for subnet, engine in sorted(out & pairs)),
        )
        self._programs = tuple(each.without(out) for each in self._programs)
        for subnet, engine in sorted(out & pairs):
            self._retired(subnet, engine)
        try:
            self._profile = self._profile.only(self._programs[0].pairs)
        except ProfileError:
            self._give_up()
        else:
            self._adopt(self._profile, self._programs)


def _neighbours(programs: Programs, pair: Pair) -> set[Pair]:
    """All programs on the device of this one."""
    subnet, engine = pair
    failed = programs.get(subnet, engine)
    if not isinstance(failed, OnDevice):
        return {pair}
    return {
        (name, each)
        for name, engines in programs.by_subnet.items()
        for each, program in engines.items()
        if isinstance(program, OnDevice) and program.device == failed.device
    }
