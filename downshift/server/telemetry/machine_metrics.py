"""What is true of the server at the moment of a scrape: whether it answers, and how busy its GPUs are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from downshift.server.catalog import Catalog


class MachineMetrics(Collector):
    """Reads, at every scrape, the catalog and the GPUs that its models see.

    A machine without a GPU or without its driver has no series of a GPU: nothing is reported as idle that
    was not looked at.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def collect(self) -> Iterator[Metric]:
        """Every family, those without a sample too."""
        ready = float(self._catalog.ready)
        yield GaugeMetricFamily(
            "downshift_ready", "1: every model answers; 0: loading, stopped or draining", ready
        )
        yield GaugeMetricFamily(
            "downshift_delivery_reserve_seconds",
            "What is kept of a budget for an answer's way back, unless that is more than a tenth of it",
            self._catalog.delivery.seconds,
        )
        busy = GaugeMetricFamily(
            "downshift_gpu_utilization_ratio", "Share of the time the GPU was busy", labels=["gpu"]
        )
        memory = GaugeMetricFamily("downshift_gpu_memory_bytes", "GPU memory in use", labels=["gpu"])
        gpus = {gpu.uuid: gpu for model in self._catalog.served for gpu in model.backend.load.gpus}
        for gpu in gpus.values():
            if gpu.utilization is not None:
                busy.add_metric([gpu.uuid], gpu.utilization)
            memory.add_metric([gpu.uuid], gpu.memory)
        yield busy
        yield memory
