"""Measured latency of every (sub-net, engine, batch size) on one machine, and the view policies read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from operator import le
from typing import TYPE_CHECKING

from downshift.models.errors import UnknownName
from downshift.runtime.errors import ProfileError
from downshift.runtime.profiling import batching

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from downshift.runtime.machine import Machine
    from downshift.runtime.profiling.batching import BatchCost


ENOUGH = 0.95  # share of the largest throughput; with 0.9 an overloaded CPU stays at batches too small


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Latency quantiles, in seconds, of one sub-net on one engine at one batch size.

    sparsity, accuracy: copied from the manifest, ratios; accuracy is None where never measured.
    chosen: this engine is the fastest for this sub-net and batch size, so it is the one that runs.
    """

    subnet: str
    sparsity: float
    accuracy: float | None
    engine: str
    batch_size: int
    p50: float
    p95: float
    p99: float
    chosen: bool


def choose(measurements: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """The same, with the engine of the lowest p50 chosen for each sub-net and batch size."""
    rows = tuple(measurements)
    fastest: dict[tuple[str, int], tuple[float, str]] = {}
    for m in rows:
        key, mine = (m.subnet, m.batch_size), (m.p50, m.engine)
        fastest[key] = min(fastest.get(key, mine), mine)
    return tuple(replace(m, chosen=fastest[m.subnet, m.batch_size][1] == m.engine) for m in rows)


@dataclass(frozen=True, kw_only=True)
class SubnetLatency:
    """What running a sub-net costs, for any number of examples.

    p50, p95, p99: seconds for n examples at index n, from 0 to the largest measured batch size; between
    measured sizes interpolated on the engine that would run them. engines: who that is, same index.
    """

    name: str
    sparsity: float
    accuracy: float | None
    p50: tuple[float, ...]
    p95: tuple[float, ...]
    p99: tuple[float, ...]
    engines: tuple[str, ...]

    @property
    def max_batch(self) -> int:
        """The largest batch that is run at once; more examples run one such batch after the other."""
        return len(self.p50) - 1

    @cached_property
    def floor(self) -> float:
        """The least p50 seconds an example can cost, at any batch size."""
        return min(self.p50[n] / n for n in range(1, len(self.p50)))

    def typical(self, examples: int) -> float:
        """p50 seconds for that many examples."""
        return _in_chunks(self.p50, examples)

    def high(self, examples: int) -> float:
        """p95 seconds for that many examples."""
        return _in_chunks(self.p95, examples)

    def bound(self, examples: int) -> float:
        """p99 seconds for that many examples: what may be promised."""
        return _in_chunks(self.p99, examples)

    def engine(self, examples: int) -> str:
        """The engine that runs that many examples."""
        return self.engines[min(examples, self.max_batch)]


@dataclass(frozen=True)
class Profile:
    """All measurements of one artifact on one machine; built by `profiler.measure`.

    artifact: the manifest's SHA-256. Measurements come sub-net by sub-net, densest first.
    """

    artifact: str
    machine: Machine
    measurements: tuple[Measurement, ...]

    @cached_property
    def subnets(self) -> tuple[SubnetLatency, ...]:
        """Every sub-net, most accurate first; without measured accuracies, densest first."""
        names = dict.fromkeys(m.subnet for m in self.measurements)
        found = [_latency([m for m in self.measurements if m.subnet == name]) for name in names]
        if all(subnet.accuracy is not None for subnet in found):
            found.sort(key=lambda subnet: -(subnet.accuracy or 0.0))  # stable: equals stay densest first
        return tuple(found)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Sub-net names, most accurate first."""
        return tuple(self._by_name)

    @cached_property
    def batch_sizes(self) -> tuple[int, ...]:
        """The measured batch sizes, ascending; 1 is among them."""
        return tuple(sorted({m.batch_size for m in self.measurements}))

    @cached_property
    def floor(self) -> float:
        """The least p50 seconds an example can cost: any sub-net, any batch size."""
        return min(m.p50 / m.batch_size for m in self.measurements)

    @cached_property
    def outrun(self) -> frozenset[tuple[str, str]]:
        """Pairs of sub-net and engine that were measured and are chosen at no batch size."""
        measured = {(m.subnet, m.engine) for m in self.measurements}
        return frozenset(measured - {(m.subnet, m.engine) for m in self.measurements if m.chosen})

    @cached_property
    def dominated(self) -> frozenset[str]:
        """Sub-nets that another beats: at least as accurate and as fast, and better in one of them.

        Fast means the p50 at every measured batch size. Empty when accuracies were not measured.
        """
        points = [
            (s.name, s.accuracy, [s.p50[size] for size in self.batch_sizes])
            for s in self.subnets
            if s.accuracy is not None
        ]
        return frozenset(
            name
            for name, accuracy, seconds in points
            if any(
                other >= accuracy and all(map(le, faster, seconds)) and (other, faster) != (accuracy, seconds)
                for _, other, faster in points
            )
        )

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """Names of the sub-nets that are not dominated, most accurate first: what policies choose from."""
        return tuple(name for name in self.names if name not in self.dominated)

    def only(self, pairs: AbstractSet[tuple[str, str]]) -> Profile:
        """The profile of these pairs of sub-net and engine, at the sizes at which all of their sub-nets run.

        The fastest of them are chosen. Raises `ProfileError` when none is left.
        """
        rows = [m for m in self.measurements if (m.subnet, m.engine) in pairs]
        if not rows:
            raise ProfileError("no program is left to run: load the model again")
        names = {m.subnet for m in rows}
        common = set.intersection(*({m.batch_size for m in rows if m.subnet == name} for name in names))
        return replace(self, measurements=choose(m for m in rows if m.batch_size in common))

    def scaled(self, factor: float) -> Profile:
        """The same profile of a machine on which everything takes that many times as long."""
        return replace(
            self,
            measurements=tuple(
                replace(m, p50=factor * m.p50, p95=factor * m.p95, p99=factor * m.p99)
                for m in self.measurements
            ),
        )

    def batch_for(self, rate: float) -> int:
        """The smallest measured batch in which that many examples a second can be answered; else the best."""
        for capacity, size in self._capacities:
            if capacity >= rate:
                return size
        return self._capacities[-1][1]

    @cached_property
    def enough(self) -> int:
        """The smallest measured batch size that gives nearly all the throughput there is."""
        return self.batch_for(ENOUGH * self._capacities[-1][0])

    def soonest(self, names: tuple[str, ...], examples: int) -> float:
        """p50 seconds of the fastest of the named sub-nets: sooner is not to be expected."""
        if (names is self.choices or names == self.choices) and examples < len(self._least_p50):
            return self._least_p50[examples]
        return min(self[name].typical(examples) for name in names)

    def soonest_bound(self, names: tuple[str, ...], examples: int) -> float:
        """p99 seconds of the fastest of the named sub-nets: the least that may be promised."""
        if (names is self.choices or names == self.choices) and examples < len(self._least_p99):
            return self._least_p99[examples]
        return min(self[name].bound(examples) for name in names)

    def longest_bound(self, names: tuple[str, ...], examples: int) -> float:
        """p99 seconds of the slowest of the named sub-nets: whichever runs, it hardly takes longer."""
        return max(self[name].bound(examples) for name in names)

    def __getitem__(self, name: str) -> SubnetLatency:
        """The named sub-net's latency; raises `UnknownName`."""
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownName("sub-net", name, self.names) from None

    def batches(self, name: str, head: int, queued: int) -> tuple[BatchCost, ...]:
        """The batches of that sub-net worth running, ascending, for a head of that many examples."""
        queued = min(queued, self.batch_sizes[-1])
        key = name, head, queued
        if (found := self._batches.get(key)) is None:
            found = batching.worthwhile(self[name], head, queued, self.batch_sizes)
            self._batches[key] = found
        return found

    def cheapest(self, names: tuple[str, ...], head: int, queued: int) -> tuple[BatchCost, ...]:
        """The Pareto front of these sub-nets' batches in p99 and cost per example, the least cost first."""
        queued = min(queued, self.batch_sizes[-1])
        key = names, head, queued
        if (found := self._cheapest.get(key)) is None:
            subnets = [self[name] for name in names]
            found = self._cheapest[key] = batching.cheapest(subnets, head, queued, self.batch_sizes)
        return found

    @cached_property
    def _batches(self) -> dict[tuple[str, int, int], tuple[BatchCost, ...]]:
        return {}

    @cached_property
    def _cheapest(self) -> dict[tuple[tuple[str, ...], int, int], tuple[BatchCost, ...]]:
        return {}

    @cached_property
    def _capacities(self) -> tuple[tuple[float, int], ...]:
        """Examples per second at each measured batch size that beats all smaller ones, ascending."""
        found: list[tuple[float, int]] = []
        for size in self.batch_sizes:
            capacity = size / min(subnet.p50[size] for subnet in self.subnets)
            if not found or capacity > found[-1][0]:
                found.append((capacity, size))
        return tuple(found)

    @cached_property
    def _least_p50(self) -> tuple[float, ...]:
        return tuple(map(min, zip(*(self[name].p50 for name in self.choices), strict=True)))

    @cached_property
    def _least_p99(self) -> tuple[float, ...]:
        return tuple(map(min, zip(*(self[name].p99 for name in self.choices), strict=True)))

    @cached_property
    def _by_name(self) -> dict[str, SubnetLatency]:
        return {subnet.name: subnet for subnet in self.subnets}


def _in_chunks(seconds: tuple[float, ...], examples: int) -> float:
    largest = len(seconds) - 1
    if examples <= largest:
        return seconds[examples]
    whole, rest = divmod(examples, largest)
    return whole * seconds[largest] + seconds[rest]


def _latency(measurements: list[Measurement]) -> SubnetLatency:
    """The per-count tables of one sub-net: n examples run on the engine chosen for the next measured size."""
    at = {(m.engine, m.batch_size): m for m in measurements}
    chosen = {m.batch_size: m.engine for m in measurements if m.chosen}
    p50, p95, p99, engines = [0.0], [0.0], [0.0], [chosen[min(chosen)]]
    for n in range(1, max(chosen) + 1):
        upper_size = min(size for size in chosen if size >= n)
        engine = chosen[upper_size]
        upper = at[engine, upper_size]
        lower = at[engine, max((size for size in chosen if size < n), default=upper_size)]
        share = 1.0 if upper is lower else (n - lower.batch_size) / (upper_size - lower.batch_size)
        p50.append(lower.p50 + share * (upper.p50 - lower.p50))
        p95.append(lower.p95 + share * (upper.p95 - lower.p95))
        p99.append(lower.p99 + share * (upper.p99 - lower.p99))
        engines.append(engine)
    first = measurements[0]
    return SubnetLatency(
        name=first.subnet,
        sparsity=first.sparsity,
        accuracy=first.accuracy,
        p50=tuple(p50),
        p95=tuple(p95),
        p99=tuple(p99),
        engines=tuple(engines),
    )
