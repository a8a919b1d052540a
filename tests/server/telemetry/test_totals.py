"""What several processes measure, as the metrics of one server."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from downshift.runtime.request import Outcome
from downshift.server.telemetry.exposition import OPENMETRICS, PLAIN
from downshift.server.telemetry.metrics import Metrics
from downshift.server.telemetry.totals import AVERAGED, LEAST, SUMMED, Told, Totals, added
from tests.server.doubles import serving

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector


def sent(collector: Collector) -> list[Metric]:
    """The families as another process reads them."""
    return list(text_string_to_metric_families(OPENMETRICS.write(collector).decode()))  # type: ignore[no-untyped-call]


def values(families: Iterable[Metric]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_counters_and_histograms_are_sums() -> None:
    registries = [CollectorRegistry(), CollectorRegistry()]
    for times, registry in enumerate(registries, 1):
        metrics = Metrics(registry)
        for _ in range(times):
            metrics.refused(Outcome.SHED)
            metrics.duration.labels("s90").observe(0.004)
    told = Told({0: sent(registries[0]), 1: sent(registries[1])})
    found = values(Totals(lambda: told).collect())
    assert found["downshift_requests_total", (("outcome", "shed"), ("subnet", "none"))] == 3
    assert found["downshift_request_duration_seconds_count", (("subnet", "s90"),)] == 3
    assert found["downshift_request_duration_seconds_sum", (("subnet", "s90"),)] == pytest.approx(0.012)
    assert found["downshift_request_duration_seconds_bucket", (("le", "0.005"), ("subnet", "s90"))] == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("downshift_queue_depth", 5.0),
        ("downshift_ready", 2.0),
        ("downshift_served_accuracy", 2.5),
        ("downshift_slowdown_ratio", 3.0),
    ],
)
def test_a_gauge_is_combined_as_what_it_means(name: str, expected: float) -> None:
    parts = [[GaugeMetricFamily(name, "text", value)] for value in (2.0, 3.0)]
    assert values(added(parts)) == {(name, ()): expected}


def test_an_average_is_of_those_that_know() -> None:
    def served(*accuracies: float) -> float:
        parts = [[GaugeMetricFamily("downshift_served_accuracy", "text", each)] for each in accuracies]
        return values(added(parts))["downshift_served_accuracy", ()]

    assert served(0.5, math.nan) == 0.5
    assert math.isnan(served(math.nan, math.nan))


async def test_the_gauges_with_a_rule_exist() -> None:
    async with serving() as served:
        names = {family.name for family in served.metrics.registry.collect() if family.type == "gauge"}
    assert names >= SUMMED | AVERAGED | LEAST


def test_a_series_that_only_one_process_has_stays() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    Counter("answers", "text", ["model"], registry=ours).labels("cars").inc(2)
    Counter("answers", "text", ["model"], registry=theirs).labels("pets").inc(3)
    Gauge("depth", "text", registry=theirs).set(7)
    found = values(added([ours.collect(), sent(theirs)]))
    assert found["answers_total", (("model", "cars"),)] == 2
    assert found["answers_total", (("model", "pets"),)] == 3
    assert found["depth", ()] == 7


def test_an_exemplar_of_any_process_is_kept() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    for registry, exemplar in ((ours, None), (theirs, {"trace_id": "abc"})):
        Histogram("seconds", "text", buckets=(1.0,), registry=registry).observe(0.5, exemplar)
    text = OPENMETRICS.write(Totals(lambda: Told({0: sent(ours), 1: sent(theirs)}))).decode()
    assert 'seconds_bucket{le="1.0"} 2.0 # {trace_id="abc"} 0.5' in text


def test_the_first_start_of_a_series_is_its_start() -> None:
    registries = [CollectorRegistry(), CollectorRegistry()]
    for registry in registries:
        Counter("answers", "text", registry=registry).inc()
    starts = [values(registry.collect())["answers_created", ()] for registry in registries]
    assert values(added(registry.collect() for registry in registries))["answers_created", ()] == min(starts)


def test_which_processes_answer_is_told() -> None:
    text = PLAIN.write(Totals(lambda: Told({0: None, 1: []}))).decode()
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        'downshift_worker_up{process="0"} 0.0',
        'downshift_worker_up{process="1"} 1.0',
    ]


def test_what_a_process_told_before_it_ended_still_counts() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    for registry in (ours, theirs):
        Counter("answers", "text", registry=registry).inc(3)
    told = Told({0: sent(ours), 1: None}, sent(theirs))
    assert values(Totals(lambda: told).collect())["answers_total", ()] == 6


async def test_alone_a_process_tells_what_it_measures() -> None:
    async with serving() as served:
        before = values(served.metrics.registry.collect())
        after = values(Totals(lambda: Told({0: sent(served.metrics.registry)})).collect())
    assert after.keys() - before.keys() == {("downshift_worker_up", (("process", "0"),))}
    assert before.keys() <= after.keys()
