"""Metrics of several processes added up into those of one server."""

from __future__ import annotations

import math
from statistics import fmean
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Combine = Callable[[Sequence[float]], float]

SUMMED = frozenset(
    {
        "downshift_gpu_busy_ratio",
        "downshift_inflight_requests",
        "downshift_queue_depth",
        "nv_inference_pending_request_count",
    }
)
AVERAGED = frozenset(
    {"downshift_cpu_utilization_ratio", "downshift_served_accuracy", "downshift_slo_attainment_ratio"}
)
LEAST = frozenset({"downshift_background_healthy", "downshift_ready", "downshift_tuning_progress_ratio"})
"""Gauges by how they are combined. Of all others the largest value counts: every process sees the same GPU,
and the slowest process is what a client may meet."""


class Totals(Collector):
    """This process's metrics and those of its peers as one; counters and histograms are sums.

    `downshift_worker_up` tells which processes answered.
    """

    def __init__(
        self,
        own: Collector,
        index: int,
        peers: Callable[[], Iterable[tuple[int, list[Metric] | None]]],
    ) -> None:
        """peers: the other processes' indices and metrics; None for one that does not answer."""
        self._own, self._index, self._peers = own, index, peers

    def collect(self) -> Iterator[Metric]:
        """Every family that any of the processes has."""
        up = GaugeMetricFamily(
            "downshift_worker_up", "1: the worker process answers; 0: it does not", labels=["process"]
        )
        up.add_metric([str(self._index)], 1.0)
        parts = [list(self._own.collect())]
        for index, families in self._peers():
            up.add_metric([str(index)], float(families is not None))
            parts.append(families or [])
        yield from added(parts)
        yield up


def added(parts: Iterable[Iterable[Metric]]) -> list[Metric]:
    """The families of all parts, each series once."""
    families: dict[str, list[Metric]] = {}
    for family in (family for part in parts for family in part):
        families.setdefault(family.name, []).append(family)
    return [_one(same) for same in families.values()]


def _one(same: Sequence[Metric]) -> Metric:
    first = same[0]
    one = Metric(first.name, first.documentation, first.type, first.unit)
    series: dict[tuple[str, frozenset[tuple[str, str]]], list[Sample]] = {}
    for sample in (sample for family in same for sample in family.samples):
        series.setdefault((sample.name, frozenset(sample.labels.items())), []).append(sample)
    for (name, _), samples in series.items():
        exemplar = next((each.exemplar for each in samples if each.exemplar is not None), None)
        value = _combine(first, name)([each.value for each in samples])
        one.samples.append(Sample(name, samples[0].labels, value, None, exemplar))
    return one


def _combine(family: Metric, sample: str) -> Combine:
    if sample.endswith("_created"):
        return min
    if family.type != "gauge" or family.name in SUMMED:
        return math.fsum
    if family.name in AVERAGED:
        return _mean
    return min if family.name in LEAST else max


def _mean(values: Sequence[float]) -> float:
    """Of what is known: a process that has answered nothing yet has no accuracy."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan
