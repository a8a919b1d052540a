"""What is true of the server at the moment of a scrape: whether it answers, and how busy its GPUs are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from downshift.runtime.gpu.monitor import THROTTLE, Gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric

    from downshift.server.catalog import Catalog


class MachineMetrics(Collector):
    """Reads, at every scrape, the catalog and the GPUs that its models compute on.

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
        gpus: dict[str, Gpu] = {}
        for model in self._catalog.served:
            for gpu in model.backend.load.gpus:
                others = gpus[gpu.uuid].busy if gpu.uuid in gpus else 0.0
                gpus[gpu.uuid] = replace(gpu, busy=min(1.0, gpu.busy + others))
        yield from _of_gpus(tuple(gpus.values()))


def _of_gpus(gpus: Sequence[Gpu]) -> Iterator[Metric]:
    """What NVML does not measure of a GPU has no sample."""

    def family(name: str, text: str, value: Callable[[Gpu], float | None]) -> GaugeMetricFamily:
        found = GaugeMetricFamily(f"downshift_gpu_{name}", text, labels=["gpu"])
        for gpu in gpus:
            if (sample := value(gpu)) is not None:
                found.add_metric([gpu.uuid], sample)
        return found

    yield family("utilization_ratio", "Share of time the GPU was busy, with anybody's work", _utilization)
    yield family("busy_ratio", "Share of time the GPU was busy with our batches", lambda gpu: gpu.busy)
    yield family("memory_bytes", "GPU memory in use", lambda gpu: gpu.memory)
    yield family("memory_total_bytes", "GPU memory", lambda gpu: gpu.memory_total)
    yield family("lost", "1: NVML does not answer for this GPU any more", lambda gpu: float(gpu.lost))
    throttled = GaugeMetricFamily(
        "downshift_gpu_throttled", "1: the GPU's clocks are reduced for that reason", labels=["gpu", "reason"]
    )
    for gpu in gpus:
        for reason in THROTTLE.values():
            throttled.add_metric([gpu.uuid, reason], float(reason in gpu.throttled))
    yield throttled


def _utilization(gpu: Gpu) -> float | None:
    return gpu.utilization
