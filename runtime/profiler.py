"""Measures the profile: every sub-net on every engine at every batch size, interleaved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from runtime.background import Work, finish
from runtime.clock import Clock, MonotonicClock
from runtime.errors import ProfileError
from runtime.machine import this_machine
from runtime.profile import Measurement, Profile

if TYPE_CHECKING:
    from models.spec import Manifest
    from runtime.engine import Program
    from runtime.programs import Programs
    from runtime.request import Tensor

Progress = Callable[[float, str], None]
"""Called with the finished fraction in [0, 1] and a short text for people."""

WARMUP_RUNS = 3
ROUGH_RUNS, ROUGH_SECONDS = 3, 1.5
WARMUP_SHARE = 0.1  # of the progress bar
REPORT_EVERY = 0.01  # fraction of the progress bar


@dataclass(frozen=True)
class Effort:
    """How long a measurement may take.

    batch_sizes: what to measure; ascending from 1. seconds: for all candidates together; each of them runs
    at least `min_runs` times, however long that takes, and at most `max_runs` times.
    tune_seconds: spent before that on each program that can be tuned and was not; 0 leaves them as they are.
    """

    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    seconds: float = 12.0
    min_runs: int = 10
    max_runs: int = 400
    tune_seconds: float = 1.5

    def __post_init__(self) -> None:
        sizes = self.batch_sizes
        if not sizes or sizes[0] != 1 or sorted(set(sizes)) != list(sizes):
            raise ProfileError(f"batch sizes {list(sizes)}: start at 1 and ascend, as in 1, 2, 4, 8")
        if not 1 <= self.min_runs <= self.max_runs:
            raise ProfileError(f"runs from {self.min_runs} to {self.max_runs}: at least 1, and ascending")

    @property
    def rough(self) -> Effort:
        """As little as it takes to begin with: the same batch sizes, a few runs, nothing tuned."""
        runs = min(ROUGH_RUNS, self.min_runs)
        return replace(self, seconds=min(ROUGH_SECONDS, self.seconds), min_runs=runs, tune_seconds=0.0)


@dataclass(frozen=True)
class _Candidate:
    subnet: str
    engine: str
    program: Program
    batch: Tensor
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
    """The profile of all programs on this machine, measured now.

    One run of each candidate, then the next of each (A B A B ...), so that clock drift, heat and noisy
    neighbours fall on all of them alike. The engine with the lowest p50 is chosen per sub-net and batch
    size: what a sub-net's sparsity promises plays no part in it.
    """
    return finish(measuring(manifest, programs, effort, progress, clock))


def measuring(
    manifest: Manifest,
    programs: Programs,
    effort: Effort = Effort(),
    progress: Progress | None = None,
    clock: Clock = MonotonicClock(),  # noqa: B008 - stateless
) -> Work[Profile]:
    """As `measure`, one run a piece; only the seconds of the runs count."""
    report = progress or (lambda _fraction, _text: None)
    candidates = _candidates(manifest, programs, effort.batch_sizes)
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
    report(1.0, f"measured {len(candidates)} candidates, {rounds} runs each")
    machine = this_machine(programs.threads, programs.versions)
    return Profile(manifest.sha256, machine, _measurements(manifest, candidates))


def part(report: Progress, begin: float, end: float) -> Progress:
    """A progress of its own for one part of the whole."""
    return lambda fraction, text: report(begin + (end - begin) * fraction, text)


def _done(effort: Effort, rounds: int, seconds: float) -> float:
    """Share of the measurement that is finished; 1.0 or more when it is over."""
    return max(rounds / effort.max_runs, min(rounds / effort.min_runs, seconds / effort.seconds))


def _candidates(manifest: Manifest, programs: Programs, batch_sizes: Sequence[int]) -> list[_Candidate]:
    noise = np.random.default_rng(0)
    batches = [noise.standard_normal((n, *manifest.input.shape), dtype=np.float32) for n in batch_sizes]
    return [
        _Candidate(subnet, engine, program, batch, [])
        for subnet in manifest.names
        for batch in batches
        for engine, program in programs.by_subnet[subnet].items()
    ]


def _measurements(manifest: Manifest, candidates: Sequence[_Candidate]) -> tuple[Measurement, ...]:
    quantiles = [np.quantile(candidate.samples, (0.5, 0.95, 0.99)).tolist() for candidate in candidates]
    fastest: dict[tuple[str, int], tuple[float, str]] = {}
    for candidate, (p50, _, _) in zip(candidates, quantiles, strict=True):
        key = candidate.subnet, len(candidate.batch)
        fastest[key] = min(fastest.get(key, (p50, candidate.engine)), (p50, candidate.engine))
    return tuple(
        Measurement(
            subnet=candidate.subnet,
            sparsity=manifest.subnet(candidate.subnet).sparsity,
            accuracy=manifest.subnet(candidate.subnet).accuracy,
            engine=candidate.engine,
            batch_size=len(candidate.batch),
            p50=p50,
            p95=p95,
            p99=p99,
            chosen=fastest[candidate.subnet, len(candidate.batch)][1] == candidate.engine,
        )
        for candidate, (p50, p95, p99) in zip(candidates, quantiles, strict=True)
    )
