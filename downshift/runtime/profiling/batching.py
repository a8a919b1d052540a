"""Candidate batches: for each sub-net the batch sizes worth running, tabulated once per profile.

Apart from `profile`, which with it would be 350 lines long: the profile caches the tables, this fills them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

WORTHWHILE = 0.9  # a larger batch must cost at most this share per example of what a smaller one costs


class Latency(Protocol):
    """What batching needs of a sub-net's measured latency."""

    @property
    def name(self) -> str:
        """The sub-net."""
        ...

    def typical(self, examples: int) -> float:
        """p50 seconds of that many examples."""
        ...

    def bound(self, examples: int) -> float:
        """p99 seconds of that many examples."""
        ...


@dataclass(frozen=True, slots=True)
class BatchCost:
    """What a batch of `size` examples costs.

    typical: p50 seconds. bound: p99 seconds of it and of every smaller one. cost: p50 seconds per example.
    """

    subnet: str
    size: int
    typical: float
    bound: float
    cost: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost", self.typical / self.size)


def sizes(head: int, queued: int, measured: Sequence[int]) -> list[int]:
    """Batch sizes to consider: the head alone, measured sizes that the queue can fill, the whole queue."""
    most = min(queued, measured[-1])
    between = [head, *(size for size in measured if head < size < most)]
    return [*between, most] if most > head else between


def worthwhile(latency: Latency, head: int, queued: int, measured: Sequence[int]) -> tuple[BatchCost, ...]:
    """The sizes at which batching pays, ascending: each clearly cheaper per example than the one before."""
    found: list[BatchCost] = []
    bound = 0.0
    for size in sizes(head, queued, measured):
        bound = max(bound, latency.bound(size))
        typical = latency.typical(size)
        if not found or typical < WORTHWHILE * found[-1].cost * size:
            found.append(BatchCost(latency.name, size, typical, bound))
    return tuple(found)


def cheapest(
    subnets: Sequence[Latency], head: int, queued: int, measured: Sequence[int]
) -> tuple[BatchCost, ...]:
    """The Pareto front of p99 and cost per example, by cost, the least first."""
    every = [
        BatchCost(latency.name, size, latency.typical(size), latency.bound(size))
        for latency in subnets
        for size in sizes(head, queued, measured)
    ]
    found: list[BatchCost] = []
    for batch in sorted(every, key=lambda batch: (batch.cost, batch.bound)):
        if not found or batch.bound < found[-1].bound:
            found.append(batch)
    return tuple(found)
