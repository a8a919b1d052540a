"""Small real classes that stand in for time, engines and whoever listens."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from downshift.models.pattern import Unstructured
from downshift.models.spec import InputSpec, Manifest, Point, SubnetSpec
from downshift.runtime.machine import Machine
from downshift.runtime.profiling.profile import Measurement, Profile
from downshift.runtime.request import Answer, Outcome, Request
from downshift.runtime.scheduling.lifecycle import Batch, Settled, Ticket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from downshift.models.artifact import Artifact
    from downshift.models.spec import Precision
    from downshift.runtime.errors import RuntimeFault, UnsupportedModel
    from downshift.runtime.request import FloatArray
    from downshift.runtime.scheduling.policy import Reason

ENGINE = "fake"
CLASSES = 2
ACCURACY = {"s50": 0.90, "s90": 0.80, "s98": 0.60}
SECONDS = {"s50": 0.010, "s90": 0.004, "s98": 0.001}
MACHINE = Machine(cpu="a processor", cores=2, gpus=(), threads=1, versions={ENGINE: "1"})


@dataclass
class FakeClock:
    """Time that stands still until someone moves it."""

    time: float = 100.0

    def now(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


def manifest(accuracy: Mapping[str, float | None] = ACCURACY) -> Manifest:
    """Sub-nets with these accuracies, densest first; inputs [n, 1, 1, 2]."""
    return Manifest(
        network="fake",
        subnets=tuple(
            SubnetSpec(name, int(name[1:]) / 100, Unstructured(), value, 100 - i, 100 - i)
            for i, (name, value) in enumerate(accuracy.items())
        ),
        input=InputSpec("image", 1, 1, 2, (0.0,), (1.0,)),
        output="logits",
        labels=("no", "yes"),
        masks="levels",
        layers=(),
        norms=(),
        sha256="0" * 64,
    )


def measurement(
    subnet: str,
    batch_size: int,
    p50: float,
    *,
    p99: float | None = None,
    engine: str = ENGINE,
    chosen: bool = True,
) -> Measurement:
    """One measurement; without p99 every run took p50."""
    slow = p50 if p99 is None else p99
    return Measurement(
        subnet=subnet,
        sparsity=int(subnet[1:]) / 100,
        accuracy=ACCURACY.get(subnet),
        engine=engine,
        batch_size=batch_size,
        p50=p50,
        p95=slow,
        p99=slow,
        chosen=chosen,
    )


def profile(
    seconds: Mapping[str, float] = SECONDS,
    *,
    batch_sizes: Sequence[int] = (1, 2, 4),
    marginal: float = 1.0,
    tail: float = 1.0,
) -> Profile:
    """Every further example costs `marginal` of the first, the p99 is `tail` times the p50."""
    rows = []
    for name, first in seconds.items():
        for size in batch_sizes:
            p50 = first * (1 + marginal * (size - 1))
            rows.append(measurement(name, size, p50, p99=tail * p50))
    return Profile("0" * 64, MACHINE, tuple(rows))


def inputs(*values: float) -> FloatArray:
    """One example per value, [n, 1, 1, 2]: the value, then 1."""
    return np.array([[[[value, 1.0]]] for value in values], dtype=np.float32)


def ticket(request: Request) -> Ticket:
    """The ticket of a request that waits since second 0, without a deadline."""
    return Ticket(
        arrival=0.0,
        deadline=np.inf,
        due=np.inf,
        examples=request.examples,
        candidates=("s50",),
        request=request,
        future=Future(),
    )


def batch(
    subnet: str, engine: str, reason: Reason, *, requests: int, examples: int, expected_seconds: float
) -> Batch:
    """A batch of that many equal requests; examples: in all."""
    some = Request(np.zeros((examples // requests, 1), np.float32))
    return Batch(
        tickets=tuple(ticket(some) for _ in range(requests)),
        examples=examples,
        subnet=subnet,
        engine=engine,
        reason=reason,
        started=0.0,
        expected_seconds=expected_seconds,
    )


def settled(  # noqa: PLR0917 - as short as events are in tables
    request: Request,
    outcome: Outcome,
    subnet: str | None,
    engine: str | None,
    queue_seconds: float,
    compute_seconds: float,
    error: RuntimeFault | None,
) -> Settled:
    """The end of a request; one that is OK or LATE has an answer."""
    answer = None
    if outcome in (Outcome.OK, Outcome.LATE):
        spec = SubnetSpec(subnet or "s50", 0.5, Unstructured(), None, 1, 1)
        answer = Answer(
            outputs=np.zeros((request.examples, 2), np.float32),
            point=Point(spec),
            engine=engine or ENGINE,
            queue_seconds=queue_seconds,
            compute_seconds=compute_seconds,
            batch_size=request.examples,
            late=outcome is Outcome.LATE,
        )
    return Settled(
        ticket=ticket(request),
        outcome=outcome,
        subnet=subnet,
        engine=engine,
        queue_seconds=queue_seconds,
        compute_seconds=compute_seconds,
        error=error,
        answer=answer,
    )


@dataclass
class FakeProgram:
    """Answers [x, -x] for the example [x, 1], and takes `seconds` an example on the clock it is given.

    Raises for a batch that holds `poison`; answers NaN for an example that is `garbage`.
    """

    clock: FakeClock
    seconds: float = 0.0
    engine: str = ENGINE
    poison: float | None = None
    garbage: float | None = None
    batches: list[list[float]] = field(default_factory=list)

    def run(self, batch: FloatArray, /) -> FloatArray:
        values = batch[:, 0, 0, 0]
        self.batches.append(values.tolist())
        self.clock.advance(self.seconds * len(batch))
        if self.poison is not None and self.poison in values:
            raise RuntimeError("poisoned")
        values = np.where(values == self.garbage, np.nan, values) if self.garbage is not None else values
        return np.stack([values, -values], axis=1).astype(np.float32)


@dataclass
class FakeEngine:
    """Compiles whatever it is told to give."""

    name: str
    programs: Mapping[str, FakeProgram | UnsupportedModel]
    version: str = "1"
    precision: Precision = "fp32"

    def compile(
        self, artifact: Artifact, subnets: Sequence[str], *, threads: int
    ) -> Mapping[str, FakeProgram | UnsupportedModel]:
        return {subnet: self.programs[subnet] for subnet in subnets}


@dataclass
class Recorder:
    """Remembers every event."""

    accepts: list[Request] = field(default_factory=list)
    refusals: list[tuple[Request, Exception]] = field(default_factory=list)
    starts: list[Batch] = field(default_factory=list)
    ends: list[tuple[Batch, float, Exception | None]] = field(default_factory=list)
    settlements: list[Settled] = field(default_factory=list)
    improvements: list[tuple[float, str]] = field(default_factory=list)
    misfits: list[tuple[str, str]] = field(default_factory=list)
    retirements: list[tuple[str, str]] = field(default_factory=list)

    def accepted(self, request: Request) -> None:
        self.accepts.append(request)

    def rejected(self, request: Request, error: Exception) -> None:
        self.refusals.append((request, error))

    def started(self, batch: Batch) -> None:
        self.starts.append(batch)

    def finished(self, batch: Batch, seconds: float, error: Exception | None) -> None:
        self.ends.append((batch, seconds, error))

    def settled(self, event: Settled) -> None:
        self.settlements.append(event)

    def improved(self, fraction: float, text: str) -> None:
        self.improvements.append((fraction, text))

    def unfit(self, subnet: str, engine: str) -> None:
        self.misfits.append((subnet, engine))

    def retired(self, subnet: str, engine: str) -> None:
        self.retirements.append((subnet, engine))
