"""Batches worth running, precomputed once per profile so that a decision is a table lookup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.runtime.profiling.profile import SubnetLatency

WORTHWHILE = 0.9  # a larger batch must cost an example at most this share of what a smaller one costs


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of `size` examples: p50 seconds `typical`; `bound`, the p99 of it and of every smaller one."""

    subnet: str
    size: int
    typical: float
    bound: float

    @property
    def cost(self) -> float:
        """p50 seconds an example."""
        return self.typical / self.size


def sizes(head: int, queued: int, measured: Sequence[int]) -> list[int]:
    """Batch sizes to consider: the head alone, the measured ones the queue can fill, and all that waits."""
    most = min(queued, measured[-1])
    between = [head, *(size for size in measured if head < size < most)]
    return [*between, most] if most > head else between


def worthwhile(latency: SubnetLatency, head: int, queued: int, measured: Sequence[int]) -> tuple[Batch, ...]:
    """The sizes at which batching pays, ascending: each costs an example clearly less than those before."""
    found: list[Batch] = []
    bound = 0.0
    for size in sizes(head, queued, measured):
        bound = max(bound, latency.bound(size))
        typical = latency.typical(size)
        if not found or typical < WORTHWHILE * found[-1].cost * size:
            found.append(Batch(latency.name, size, typical, bound))
    return tuple(found)


def cheapest(
    subnets: Sequence[SubnetLatency], head: int, queued: int, measured: Sequence[int]
) -> tuple[Batch, ...]:
    """The Pareto front of all batches in time and cost, by ascending cost."""
    every = [
        Batch(latency.name, size, latency.typical(size), latency.bound(size))
        for latency in subnets
        for size in sizes(head, queued, measured)
    ]
    found: list[Batch] = []
    for batch in sorted(every, key=lambda batch: (batch.cost, batch.bound)):
        if not found or batch.bound < found[-1].bound:
            found.append(batch)
    return tuple(found)
