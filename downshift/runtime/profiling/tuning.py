"""Autotuning: every program that can be tuned searches for a faster configuration and caches it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from downshift.runtime.engines.engine import Forward, Tunable, unchecked

if TYPE_CHECKING:
    from downshift.runtime.background import Work
    from downshift.runtime.engines.programs import Programs
    from downshift.runtime.profiling.profiler import Progress


Check = Callable[[str, str, Forward], bool]
"""Whether what a sub-net would run on that engine may answer requests."""


def tuning(
    programs: Programs, seconds: float, progress: Progress | None = None, check: Check | None = None
) -> Work[None]:
    """Spend that many seconds on each program that can be tuned and never was; with 0, none at all.

    check: what it does not let pass is not swapped in.
    """
    if seconds <= 0:
        return
    untuned = [
        (subnet, program)
        for subnet, engines in programs.by_subnet.items()
        for program in engines.values()
        if isinstance(program, Tunable) and not program.tuned
    ]
    for index, (subnet, program) in enumerate(untuned):
        if progress is not None:
            progress(index / len(untuned), f"tuning {subnet}")
        fit = unchecked if check is None else partial(check, subnet, program.engine)
        yield from program.tuning(seconds, fit)
