"""Programs that can be made faster on this machine are, and remember it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.engine import Tunable

if TYPE_CHECKING:
    from runtime.background import Work
    from runtime.profiler import Progress
    from runtime.programs import Programs


def tuning(programs: Programs, seconds: float, progress: Progress | None = None) -> Work[None]:
    """Spend that many seconds on each program that can be tuned and never was; with 0, none at all."""
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
        yield from program.tuning(seconds)
