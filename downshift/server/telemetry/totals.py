"""Metrics of several processes added up into those of one server."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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


@dataclass(frozen=True)
class Told:
    """What processes tell of their metrics. now: by worker, None of one that does not answer.

    before: counters and histograms of processes that do not answer any more.
    """

    now: Mapping[int, Sequence[Metric] | None]
    before: Sequence[Metric] = ()


class Totals(Collector):
    """The metrics of all worker processes as one; counters and histograms are sums, and never fall.

    `downshift_worker_up` tells which workers answered.
    """

    def __init__(self, ask: Callable[[], Told]) -> None:
        """ask: all processes, this one too."""
        self._ask = ask

    def collect(self) -> Iterator[Metric]:
        """Every family that any of the processes has."""
        told = self._ask()
        up = GaugeMetricFamily(
            "downshift_worker_up", "1: the worker process answers; 0: it does not", labels=["process"]
        )
        for index, families in told.now.items():
            up.add_metric([str(index)], float(families is not None))
        yield from added([*(families or () for families in told.now.values()), told.before])
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
