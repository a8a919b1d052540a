"""The Prometheus metrics, fed by the scheduler through `SchedulerEvents` and by the server through methods.

Bounded cardinality: every label's values are known when a model is announced, so no client can create a
series. Every series exists, at zero, before the first request.
"""

from __future__ import annotations

import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from downshift.runtime.request import Outcome
from downshift.runtime.scheduling.observer import NullObserver
from downshift.runtime.scheduling.policy import Reason
from downshift.runtime.supervisor import Supervisor
from downshift.server.demand import LABELS, SOURCES
from downshift.server.errors import row_of
from downshift.server.telemetry.exposition import Exposition
from downshift.server.telemetry.history import NO_MODEL, History
from downshift.server.telemetry.worker_metrics import WorkerMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.registry import Collector

    from downshift.models.spec import Manifest
    from downshift.runtime.request import Request
    from downshift.runtime.scheduling.lifecycle import Batch, Settled
    from downshift.server.catalog import Backend
    from downshift.server.demand import Budget
    from downshift.server.telemetry.identity import TraceContext

NO_SUBNET = "none"
_SECONDS = (
    *(0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
_RATIOS = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """All `downshift_…` metrics, in the given registry.

    supervisor: of the workers to report on. exposed: what a scrape gets, by default the registry.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        now: Callable[[], float] = time.monotonic,
        supervisor: Supervisor | None = None,
        exposed: Collector | None = None,
    ) -> None:
        self.registry = registry
        self.supervisor = supervisor or Supervisor()
        registry.register(WorkerMetrics(self.supervisor))
        self.exposition = Exposition(exposed or registry, supervisor=self.supervisor)
        self.now = now
        self.history = History(now=now)
        self._backends: tuple[Backend, ...] = ()  # replaced, never changed: a scrape may be reading it
        self._artifacts: dict[str, tuple[str, str, str]] = {}
        self.requests = Counter(
            "downshift_requests", "Inference requests that ended", ["subnet", "outcome"], registry=registry
        )
        self.duration = _seconds("request_duration", "First byte to answer", registry, "subnet")
        self.queue_wait = _seconds("queue_wait", "Submission to execution", registry)
        self.compute = _seconds("compute_duration", "One batch in its engine", registry, "subnet", "engine")
        self.batch_size = Histogram(
            "downshift_batch_size", "Examples in a batch", buckets=_SIZES, registry=registry
        )
        self.prediction = Histogram(
            "downshift_latency_prediction_ratio",
            "Measured over profiled seconds of a batch",
            buckets=_RATIOS,
            registry=registry,
        )
        self.selected = Counter(
            "downshift_subnet_selected",
            "Requests by the sub-net chosen for them and why",
            ["subnet", "reason"],
            registry=registry,
        )
        self.budget_source = Counter(
            "downshift_budget_source",
            "Requests by where their budget came from",
            ["source"],
            registry=registry,
        )
        self.budget_malformed = Counter(
            "downshift_budget_malformed", "Foreign budget headers ignored", ["source"], registry=registry
        )
        self.artifact = Gauge(
            "downshift_artifact_info", "A served artifact", ["model", "network", "sha256"], registry=registry
        )
        self.tuning = Gauge(
            "downshift_tuning_progress_ratio",
            "Share of the search for faster programs that is done; 1 where there is none",
            ["model"],
            registry=registry,
        )
        self.unfit = Counter(
            "downshift_programs_refused",
            "Tuned programs that computed something else than the sub-net's export, and were not swapped in",
            ["model"],
            registry=registry,
        )
        self.retired = Counter(
            "downshift_programs_retired",
            "Programs that went out of service, as their device had failed again and again",
            ["model", "engine"],
            registry=registry,
        )
        self._gauge(
            "queue_depth",
            "Requests waiting",
            lambda: sum(backend.scheduler.queued for backend in self._backends),
        )
        self._gauge(
            "inflight_requests",
            "Requests being executed",
            lambda: sum(backend.scheduler.in_flight for backend in self._backends),
        )
        self._gauge(
            "slowdown_ratio",
            "How many times as long as profiled batches take at present, as decisions have it",
            lambda: max((backend.scheduler.slowdown for backend in self._backends), default=1.0),
        )
        self._gauge(
            "cpu_utilization_ratio", "Share of the CPU time this server may use that is used", self._cpu
        )
        self._gauge(
            "slo_attainment_ratio",
            "Share of requests answered within their budget, last minute",
            self.history.attainment,
        )
        self._gauge(
            "served_accuracy",
            "Mean validation accuracy of the answers in time, last minute",
            self.history.served_accuracy,
        )
        for label in LABELS:
            self.budget_source.labels(label)
        for source in SOURCES.values():
            if source.remedy is None:
                self.budget_malformed.labels(source.label)
        for outcome in Outcome:
            self.requests.labels(NO_SUBNET, outcome)
        build = Gauge("downshift_build_info", "This server", ["version", "python"], registry=registry)
        build.labels(software_version(), platform.python_version()).set(1)

    def announce(self, model: str, manifest: Manifest, engines: Iterable[str]) -> SchedulerEvents:
        """Create, at zero, every series that requests to this model can touch; its scheduler's observer."""
        self.forget_artifact(model)
        self._artifacts[model] = labels = (model, manifest.network, manifest.sha256)
        self.artifact.labels(*labels).set(1)
        self.tuning.labels(model).set(1)
        self.unfit.labels(model)
        for engine in engines:
            self.retired.labels(model, engine)
        for subnet in (point.name for point in manifest.points):
            self.duration.labels(subnet)
            for outcome in Outcome:
                self.requests.labels(subnet, outcome)
            for reason in get_args(Reason):
                self.selected.labels(subnet, reason)
            for engine in engines:
                self.compute.labels(subnet, engine)
        accuracy = {point.name: point.accuracy for point in manifest.points}
        return SchedulerEvents(self, model, accuracy)

    def watch(self, backend: Backend) -> None:
        """Include this backend's queue, requests in flight and load in every scrape."""
        self._backends = (*self._backends, backend)

    def unwatch(self, backend: Backend) -> None:
        """Exclude a closed backend from scrapes."""
        self._backends = tuple(each for each in self._backends if each is not backend)

    def forget_artifact(self, model: str) -> None:
        """Remove the info series of a model that is no longer served."""
        if labels := self._artifacts.pop(model, None):
            self.artifact.remove(*labels)

    def granted(self, budget: Budget) -> None:
        """A request's budget was read."""
        self.budget_source.labels(budget.source).inc()
        for label in budget.malformed:
            self.budget_malformed.labels(label).inc()

    def answered(self, subnet: str, seconds: float, trace: TraceContext | None = None) -> None:
        """An answer is on its way, this long after its first byte; a sampled trace is its exemplar."""
        exemplar = {"trace_id": trace.trace_id} if trace is not None and trace.sampled else None
        self.duration.labels(subnet).observe(seconds, exemplar)

    def refused(self, outcome: Outcome, model: str = NO_MODEL) -> None:
        """An inference request ended before the scheduler accepted it."""
        self.requests.labels(NO_SUBNET, outcome).inc()
        self.history.ended(model, outcome)

    def _gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(f"downshift_{name}", text, registry=self.registry).set_function(value)

    def _cpu(self) -> float:
        return self._backends[0].load.cpu_utilization if self._backends else 0.0


class SchedulerEvents(NullObserver):
    """Counts what one model's scheduler reports; `accuracy` is that of each sub-net, where measured."""

    def __init__(self, metrics: Metrics, model: str, accuracy: Mapping[str, float | None]) -> None:
        self._metrics = metrics
        self._model = model
        self._accuracy = accuracy

    def rejected(self, request: Request, error: Exception) -> None:  # noqa: ARG002  the protocol's
        """Count a request that admission control refused."""
        self._metrics.refused(row_of(error).outcome, self._model)

    def started(self, batch: Batch) -> None:
        """Count who was chosen for whom, and why."""
        self._metrics.batch_size.observe(batch.examples)
        self._metrics.selected.labels(batch.subnet, batch.reason).inc(len(batch.tickets))

    def finished(self, batch: Batch, seconds: float, error: Exception | None) -> None:
        """Count the engine's time, and how well the profile foretold it."""
        if error is None:
            self._metrics.compute.labels(batch.subnet, batch.engine).observe(seconds)
            self._metrics.prediction.observe(seconds / batch.expected_seconds)

    def settled(self, event: Settled) -> None:
        """Count the one outcome of an accepted request."""
        metrics, subnet = self._metrics, event.subnet
        metrics.requests.labels(subnet or NO_SUBNET, event.outcome).inc()
        if subnet is None:
            metrics.history.ended(self._model, event.outcome)
        else:
            metrics.queue_wait.observe(event.queue_seconds)
            metrics.history.executed(self._model, event, self._accuracy.get(subnet))

    def improved(self, fraction: float, text: str) -> None:  # noqa: ARG002  the protocol's
        """Show how far the search for faster programs has come."""
        self._metrics.tuning.labels(self._model).set(fraction)

    def unfit(self, subnet: str, engine: str) -> None:  # noqa: ARG002  the protocol's
        """Count a program that was refused."""
        self._metrics.unfit.labels(self._model).inc()

    def retired(self, subnet: str, engine: str) -> None:  # noqa: ARG002  the protocol's
        """Count a program that went out of service."""
        self._metrics.retired.labels(self._model, engine).inc()


def _seconds(name: str, text: str, registry: CollectorRegistry, *labels: str) -> Histogram:
    return Histogram(f"downshift_{name}_seconds", text, labels, buckets=_SECONDS, registry=registry)


def software_version() -> str:
    """The installed version of Downshift, or `unknown` when it runs from a bare source tree."""
    try:
        return version("downshift")
    except PackageNotFoundError:
        return "unknown"
