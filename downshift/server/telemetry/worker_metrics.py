"""How the background workers are, at the moment of a scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from downshift.runtime.supervisor import Supervisor


class WorkerMetrics(Collector):
    """Reads the supervisor at every scrape; one series for every name that was ever started."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        """Both families, without a sample before the first worker."""
        errors = CounterMetricFamily(
            "downshift_background_errors", "Passes of a background worker that raised", labels=["worker"]
        )
        healthy = GaugeMetricFamily(
            "downshift_background_healthy",
            "1: the background worker runs and its last pass succeeded; 0: it fails, or is dead",
            labels=["worker"],
        )
        for worker in self._supervisor.health:
            errors.add_metric([worker.name], worker.errors)
            healthy.add_metric([worker.name], float(worker.healthy))
        yield errors
        yield healthy
