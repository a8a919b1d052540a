"""Measures the profile: every sub-net on every engine at every batch size, interleaved."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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


@dataclass(frozen=True)
class Effort:
    """How long a measurement may take.

    seconds: time to spend on all candidates together; every one of them runs at least `min_runs` times,
    at most `max_runs`, however long that takes.
    """

    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    seconds: float = 12.0
    min_runs: int = 10
    max_runs: int = 400

    def __post_init__(self) -> None:
        if (
            not self.batch_sizes
            or self.batch_sizes[0] != 1
            or sorted(set(self.batch_sizes)) != list(self.batch_sizes)
        ):
            raise ProfileError(f"batch sizes {self.batch_sizes}: start at 1 and ascend, as in 1,2,4,8")


@dataclass(frozen=True)
class _Candidate:
    subnet: str
    engine: str
    program: Program
    batch: Tensor
    samples: list[float]

    def run(self) -> None:
        begin = time.perf_counter()
        self.program.run(self.batch)
        self.samples.append(time.perf_counter() - begin)


def measure(
    manifest: Manifest, programs: Programs, *, effort: Effort = Effort(), progress: Progress | None = None
) -> Profile:
    """The profile of all programs on this machine, measured now.

    One run of each candidate, then the next of each (A B A B ...), so that clock drift, heat and noisy
    neighbours fall on all of them alike. The engine with the lowest p50 is chosen per sub-net and batch size.
    """
    report = progress or (lambda _fraction, _text: None)
    candidates = _candidates(manifest, programs, effort.batch_sizes)
    for index, candidate in enumerate(candidates):
        report(0.1 * index / len(candidates), f"warming up {candidate.subnet} on {candidate.engine}")
        for _ in range(WARMUP_RUNS):
            candidate.run()
        candidate.samples.clear()
    begin = time.perf_counter()
    rounds = 0
    while rounds < effort.max_runs:
        spent = time.perf_counter() - begin
        done = min(rounds / effort.min_runs, max(spent / effort.seconds, rounds / effort.max_runs))
        if done >= 1.0:
            break
        report(0.1 + 0.9 * done, f"measuring {len(candidates)} candidates, round {rounds + 1}")
        for candidate in candidates:
            candidate.run()
        rounds += 1
    report(1.0, f"measured {len(candidates)} candidates in {rounds} rounds")
    machine = this_machine(programs.threads, programs.versions)
    return Profile(manifest.sha256, machine, _measurements(manifest, candidates))


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
    best: dict[tuple[str, int], tuple[float, str]] = {}
    quantiles = [np.quantile(candidate.samples, (0.5, 0.95, 0.99)).tolist() for candidate in candidates]
    for candidate, (p50, _, _) in zip(candidates, quantiles, strict=True):
        key = candidate.subnet, len(candidate.batch)
        best[key] = min(best.get(key, (p50, candidate.engine)), (p50, candidate.engine))
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
            chosen=best[candidate.subnet, len(candidate.batch)][1] == candidate.engine,
        )
        for candidate, (p50, p95, p99) in zip(candidates, quantiles, strict=True)
    )
