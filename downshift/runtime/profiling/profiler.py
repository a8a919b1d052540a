"""Measures the profile: every sub-net on every engine at every batch size, interleaved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.background import Work, finish
from downshift.runtime.clock import Clock, MonotonicClock
from downshift.runtime.engines.device_program import LADDER
from downshift.runtime.errors import ProfileError
from downshift.runtime.machine import this_machine
from downshift.runtime.profiling.profile import Measurement, Profile, choose

if TYPE_CHECKING:
    from downshift.models.spec import Manifest
    from downshift.runtime.engines.engine import Program
    from downshift.runtime.engines.programs import Programs
    from downshift.runtime.request import FloatArray

Progress = Callable[[float, str], None]
"""Called with the completed fraction in [0, 1] and a short text."""

WARMUP_RUNS = 3
ROUGH_RUNS, ROUGH_SECONDS = 3, 1.5
USUAL = 8  # examples; larger batches are measured afterwards, each size with a time budget of its own
LARGER_SHARE = 0.25  # time budget of each larger size, as a share of that of the usual sizes
PROMISING = 2.0  # pruning: an engine slower than the fastest by this factor skips larger batches
SHORT = 0.05  # seconds: longest batch to measure while serving, as requests wait for its end
WARMUP_SHARE = 0.1  # of the progress bar
REPORT_EVERY = 0.01  # fraction of the progress bar


@dataclass(frozen=True, kw_only=True)
class Effort:
    """The time budget of a measurement.

    batch_sizes: what to measure; ascending from 1. longest: seconds; a size above `USUAL` is left out, and
    so are those after it, when on some sub-net's fastest engine it must be expected to take longer.
    seconds: for all candidates of the usual sizes together, and a quarter of it for each larger size; each
    candidate runs at least `min_runs` times, however long that takes, and at most `max_runs` times.
    tune_seconds: spent before that on each program that can be tuned and was not; 0 leaves them as they are.
    """

    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    seconds: float = 12.0
    min_runs: int = 10
    max_runs: int = 400
    tune_seconds: float = 1.5
    longest: float = 0.2

    def __post_init__(self) -> None:
        sizes = self.batch_sizes
        if not sizes or sizes[0] != 1 or sorted(set(sizes)) != list(sizes):
            raise ProfileError(f"batch sizes {list(sizes)}: start at 1 and ascend, as in 1, 2, 4, 8")
        if not 1 <= self.min_runs <= self.max_runs:
            raise ProfileError(f"runs from {self.min_runs} to {self.max_runs}: at least 1, and ascending")

    @property
    def usual(self) -> tuple[int, ...]:
        """The batch sizes that are always measured."""
        return tuple(size for size in self.batch_sizes if size <= USUAL)

    @property
    def larger(self) -> tuple[int, ...]:
        """The larger batch sizes, measured up to `longest`."""
        return self.batch_sizes[len(self.usual) :]

    @property
    def rough(self) -> Effort:
        """A minimal measurement to start serving with: usual batch sizes, few runs, no autotuning."""
        return replace(
            self,
            batch_sizes=self.usual,
            seconds=min(ROUGH_SECONDS, self.seconds),
            min_runs=min(ROUGH_RUNS, self.min_runs),
            tune_seconds=0.0,
        )

    @property
    def for_device(self) -> Effort:
        """The same with larger batch sizes, to saturate a GPU, unless sizes were chosen."""
        if self.batch_sizes != Effort.batch_sizes:
            return self
        return replace(self, batch_sizes=LADDER)

    @property
    def between_requests(self) -> Effort:
        """The same without batches so long that they would delay a request while serving."""
        return replace(self, longest=min(SHORT, self.longest))

    def met_by(self, profile: Profile) -> bool:
        """Whether the profile has all of the batch sizes, or lacks those only that are too long here.

        Near that limit the profile is taken as it is: measured again, it might fall on either side.
        """
        measured = len(profile.batch_sizes)
        if measured < len(self.usual) or profile.batch_sizes != self.batch_sizes[:measured]:
            return False
        rest = self.batch_sizes[measured:]
        return not rest or expected_seconds(profile.measurements, rest[0]) > self.longest / 2


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    subnet: str
    engine: str
    program: Program
    batch: FloatArray
    samples: list[float]

    def run(self, clock: Clock) -> float:
        begin = clock.now()
        self.program.run(self.batch)
        self.samples.append(clock.now() - begin)
        return self.samples[-1]


def measure(
    manifest: Manifest,
    programs: Programs,
    effort: Effort = Effort(),
    progress: Progress | None = None,
    clock: Clock = MonotonicClock(),  # noqa: B008 - stateless
) -> Profile:
    """Measure the profile of all programs on this machine.

    Interleaved runs (A B A B ...), so that frequency drift, heat and noisy neighbours affect all candidates
    alike. The engine with the lowest p50 is chosen per sub-net and batch size, never by nominal sparsity.
    """
    return finish(measuring(manifest, programs, effort, progress, clock))


def measuring(
    manifest: Manifest,
    programs: Programs,
    effort: Effort = Effort(),
    progress: Progress | None = None,
    clock: Clock = MonotonicClock(),  # noqa: B008 - stateless
) -> Work[Profile]:
    """As `measure`, in steps of one run each; only time inside the runs counts towards the effort."""
    report = progress or (lambda _fraction, _text: None)
    whole = 1.0 + LARGER_SHARE * len(effort.larger)
    candidates = _candidates(manifest, programs, effort.usual)
    yield from _running(candidates, effort, clock, part(report, 0.0, 1.0 / whole))
    rows = _measurements(manifest, candidates)
    for index, size in enumerate(effort.larger):
        if expected_seconds(rows, size) > effort.longest:
            break
        begin = (1.0 + LARGER_SHARE * index) / whole
        candidates = _candidates(manifest, programs, [size], _promising(rows))
        less = replace(effort, seconds=LARGER_SHARE * effort.seconds)
        yield from _running(candidates, less, clock, part(report, begin, begin + LARGER_SHARE / whole))
        rows += _measurements(manifest, candidates)
    report(1.0, "measured")
    machine = this_machine(programs.threads, programs.versions)
    order = {name: index for index, name in enumerate(programs.by_subnet)}
    rows = tuple(sorted(rows, key=lambda row: order[row.subnet]))  # stable: by size, then as engines come
    return Profile(manifest.sha256, machine, rows)


def expected_seconds(rows: Sequence[Measurement], size: int) -> float:
    """Predicted seconds of a batch on the slowest sub-net, extrapolated linearly from the largest size."""
    largest = max(row.batch_size for row in rows)
    return max(row.p50 for row in rows if row.chosen and row.batch_size == largest) * size / largest


def _promising(rows: Sequence[Measurement]) -> frozenset[tuple[str, str]]:
    """Pairs of sub-net and engine within `PROMISING` times the fastest at the largest size so far."""
    largest = max(row.batch_size for row in rows)
    last = [row for row in rows if row.batch_size == largest]
    fastest = {row.subnet: row.p50 for row in last if row.chosen}
    return frozenset((row.subnet, row.engine) for row in last if row.p50 <= PROMISING * fastest[row.subnet])


def _running(candidates: Sequence[_Candidate], effort: Effort, clock: Clock, report: Progress) -> Work[None]:
    """Warm the candidates up, then run them round-robin within the time budget."""
    for index, candidate in enumerate(candidates):
        report(WARMUP_SHARE * index / len(candidates), f"warming up {candidate.subnet} on {candidate.engine}")
        for _ in range(WARMUP_RUNS):
            candidate.run(clock)
            yield 0.0
        candidate.samples.clear()
    spent, rounds, reported = 0.0, 0, 0.0
    while (done := _done(effort, rounds, spent)) < 1.0:
        if done >= reported + REPORT_EVERY:
            report(WARMUP_SHARE + (1.0 - WARMUP_SHARE) * done, f"measuring, round {rounds + 1}")
            reported = done
        for candidate in candidates:
            spent += candidate.run(clock)
            yield 0.0
        rounds += 1


def part(report: Progress, begin: float, end: float) -> Progress:
    """The progress callback of one phase, mapped to [begin, end] of the whole."""
    return lambda fraction, text: report(begin + (end - begin) * fraction, text)


def _done(effort: Effort, rounds: int, seconds: float) -> float:
    """Share of the measurement that is finished; 1.0 or more when it is over."""
    return max(rounds / effort.max_runs, min(rounds / effort.min_runs, seconds / effort.seconds))


def _candidates(
    manifest: Manifest,
    programs: Programs,
    batch_sizes: Sequence[int],
    only: frozenset[tuple[str, str]] | None = None,
) -> list[_Candidate]:
    """Every program at every size, or only those of some sub-nets and engines."""
    noise = np.random.default_rng(0)
    batches = [noise.standard_normal((n, *manifest.input.shape), dtype=np.float32) for n in batch_sizes]
    return [
        _Candidate(subnet=subnet, engine=engine, program=program, batch=batch, samples=[])
        for subnet, by_engine in programs.by_subnet.items()
        for batch in batches
        for engine, program in by_engine.items()
        if only is None or (subnet, engine) in only
    ]


def _measurements(manifest: Manifest, candidates: Sequence[_Candidate]) -> tuple[Measurement, ...]:
    rows = []
    for candidate in candidates:
        point = manifest.point(candidate.subnet)
        p50, p95, p99 = np.quantile(candidate.samples, (0.5, 0.95, 0.99)).tolist()
        rows.append(
            Measurement(
                subnet=point.name,
                sparsity=point.sparsity,
                accuracy=point.accuracy,
                engine=candidate.engine,
                batch_size=len(candidate.batch),
                p50=p50,
                p95=p95,
                p99=p99,
                chosen=False,
            )
        )
    return choose(rows)
