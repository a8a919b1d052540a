"""Synthetic profiles from a linear latency model, for tests, sweeps and capacity planning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from downshift.runtime.machine import Machine
from downshift.runtime.profiling.profile import Measurement, Profile

if TYPE_CHECKING:
    from collections.abc import Sequence

ENGINE = "synthetic"
HIGH = (0.95 - 0.5) / (0.99 - 0.5)
MACHINE = Machine(cpu="none", cores=1, gpus=(), threads=1, versions={ENGINE: "0"})


def synthetic_profile(
    subnets: Sequence[tuple[str, float, float, float]],
    *,
    batch_sizes: Sequence[int] = (1, 2, 4, 8, 16),
    fixed: float = 0.15,
    tail: float = 1.0,
) -> Profile:
    """A profile in which a batch of n examples takes l * (fixed + (1 - fixed) * n) seconds.

    subnets: (name, sparsity, accuracy, l: seconds of one example), densest first. tail: p99 over p50; the
    p95 is interpolated linearly.
    """
    rows = [
        Measurement(
            subnet=name,
            sparsity=sparsity,
            accuracy=accuracy,
            engine=ENGINE,
            batch_size=size,
            p50=(p50 := seconds * (fixed + (1.0 - fixed) * size)),
            p95=p50 * (1.0 + HIGH * (tail - 1.0)),
            p99=p50 * tail,
            chosen=True,
        )
        for name, sparsity, accuracy, seconds in subnets
        for size in batch_sizes
    ]
    return Profile("synthetic", MACHINE, tuple(rows))
