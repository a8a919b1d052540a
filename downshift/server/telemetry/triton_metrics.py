"""The figures that Triton publishes, under Triton's names, for dashboards that were made for it.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md. Triton's counters
have no `_total`, with which `prometheus_client` would announce them: they are announced untyped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from downshift.server.catalog import Catalog
    from downshift.server.statistics import Duration, Snapshot

_MODEL = ("model", "version")
_COUNTERS: tuple[tuple[str, str, Callable[[Snapshot], float]], ...] = (
    ("request_success", "Requests that were answered", lambda now: now.success.count),
    ("count", "Examples that were answered", lambda now: now.inferences),
    (
        "exec_count",
        "Batches that were executed",
        lambda now: sum(each.count for each in now.executions.values()),
    ),
    ("request_duration_us", "Microseconds of answered requests", lambda now: _us(now.success)),
    ("queue_duration_us", "Microseconds that answered requests waited", lambda now: _us(now.queue)),
    ("compute_input_duration_us", "Microseconds spent reading requests", lambda now: _us(now.compute_input)),
    (
        "compute_infer_duration_us",
        "Microseconds of requests in the engine",
        lambda now: _us(now.compute_infer),
    ),
    ("compute_output_duration_us", "Microseconds spent writing answers", lambda now: _us(now.compute_output)),
)


class TritonMetrics(Collector):
    """Reads, at every scrape, the models that are served then and the GPUs they see."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def collect(self) -> Iterator[Metric]:
        """Every family, those without a sample too."""
        models = self._catalog.served
        counted = [((model.name, model.version), model.statistics.snapshot) for model in models]
        for name, text, count in _COUNTERS:
            family = Metric(f"nv_inference_{name}", text, "unknown")
            for labels, now in counted:
                _sample(family, _MODEL, labels, count(now))
            yield family
        failure = Metric("nv_inference_request_failure", "Requests that were not answered", "unknown")
        for labels, now in counted:
            for reason, failed in now.failures.items():
                _sample(failure, (*_MODEL, "reason"), (*labels, reason), failed.count)
        yield failure
        pending = Metric("nv_inference_pending_request_count", "Requests that wait", "gauge")
        for model in models:
            _sample(pending, _MODEL, (model.name, model.version), model.backend.scheduler.queued)
        yield pending
        utilization = Metric("nv_gpu_utilization", "Share of the time the GPU was busy", "gauge")
        memory = Metric("nv_gpu_memory_used_bytes", "GPU memory in use", "gauge")
        for gpu in {gpu.uuid: gpu for model in models for gpu in model.backend.load.gpus}.values():
            if gpu.utilization is not None:
                _sample(utilization, ("gpu_uuid",), (gpu.uuid,), gpu.utilization)
            if gpu.memory is not None:
                _sample(memory, ("gpu_uuid",), (gpu.uuid,), gpu.memory)
        yield utilization
        yield memory


def _us(duration: Duration) -> int:
    return round(duration.seconds * 1e6)


def _sample(family: Metric, labels: tuple[str, ...], values: tuple[str, ...], value: float) -> None:
    family.add_sample(family.name, dict(zip(labels, values, strict=True)), value)
