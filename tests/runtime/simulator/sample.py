"""A profile and traces small enough to follow by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.simulator.synthetic import synthetic_profile
from downshift.runtime.simulator.trace import Trace

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile


def two(fixed: float = 0.0, tail: float = 1.0) -> Profile:
    """s50: 10 ms, 90 % right; s90: 1 ms, 80 % right."""
    subnets = (("s50", 0.5, 0.9, 0.010), ("s90", 0.9, 0.8, 0.001))
    return synthetic_profile(subnets, batch_sizes=(1, 2, 4), fixed=fixed, tail=tail)


def trace(*times: float, seconds: float | None = None) -> Trace:
    return Trace("by hand", np.array(times, dtype=np.float64), seconds or max(1.0, *times))
