"""Our rules and dashboard, as files, before promtool, and in a real Prometheus that scrapes real servers."""

from __future__ import annotations

import json
import math
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from downshift.models.artifact import write
from tests.deploy.monitoring import (
    DEPLOY,
    PROMETHEUS,
    RULES,
    documents,
    exposed,
    known,
    named,
    prometheus,
    rules,
    server,
    tool,
    until,
)
from tests.models.tiny_artifact import tiny_artifact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from downshift.models.artifact import Artifact
    from tests.deploy.monitoring import RealPrometheus

DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "downshift.json").read_text())
REQUESTS = 8
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
BEST, WORST = 0.875, 0.75


def expressions() -> list[str]:
    """Every expression of the dashboard, its variables replaced as Grafana replaces them."""
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    found += [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]
    values = {"$__rate_interval": "1m", "$job": "downshift", "$instance": ".*"}
    for name, value in values.items():
        found = [expression.replace(name, value) for expression in found]
    return found


def test_every_metric_that_rules_and_dashboard_name_exists() -> None:
    names = known()
    judged = [rule["expr"] for kind in ("record", "alert") for rule in rules(kind)] + expressions()
    for expression in judged:
        assert named(expression) <= names, expression
    used = set().union(*map(named, judged))
    assert used >= {rule["record"] for rule in rules("record")}, "a rule that nobody reads"


def scaling() -> list[str]:
    """What replicas are scaled by."""
    [scaled] = documents(DEPLOY / "kubernetes" / "scaledobject.yaml")
    return [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]


def test_the_names_in_an_expression_are_found() -> None:
    """A check of the check: a metric that does not exist must not slip through."""
    expression = 'sum by (job) (rate(downshift_x_total{a="b"}[5m])) > scalar(job:downshift_y:mean) + nv_z'
    assert named(expression) == {"downshift_x_total", "job:downshift_y:mean", "nv_z"}
    assert "downshift_x_total" not in exposed()


def test_the_dashboard_shows_every_metric_of_the_specification() -> None:
    shown = {name for expression in expressions() for name in named(expression)}
    recorded = {rule["record"]: rule["expr"] for rule in rules("record")}
    shown |= {name for each in shown & set(recorded) for name in named(recorded[each])}
    families = {name.removesuffix("_bucket") for name in exposed() if name.startswith("downshift_")}
    for name in families:
        if name.endswith(("_created", "_sum", "_count")):
            continue
        assert any(each.startswith(name) for each in shown), f"{name} is shown nowhere"


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    alerts = list(rules("alert"))
    assert len({alert["alert"] for alert in alerts}) == len(alerts) == 11
    for alert in alerts:
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert set(alert["annotations"]) == {"summary", "remedy"}


def test_promtool_accepts_configuration_and_rules() -> None:
    promtool = tool("promtool")
    subprocess.run([promtool, "check", "config", str(PROMETHEUS / "prometheus.yml")], check=True)
    subprocess.run([promtool, "check", "rules", *(str(PROMETHEUS / name) for name in RULES)], check=True)


def test_the_rules_pass_their_unit_tests() -> None:
    subprocess.run([tool("promtool"), "test", "rules", str(PROMETHEUS / "rules_test.yml")], check=True)


def test_every_rule_has_a_unit_test() -> None:
    text = (PROMETHEUS / "rules_test.yml").read_text()
    for rule in rules("alert"):
        assert rule["alert"] in text
    [tested] = documents(PROMETHEUS / "rules_test.yml")
    assert [*RULES] == tested["rule_files"]


def rated_artifact() -> Artifact:
    """The tiny artifact with accuracies, evenly spaced from BEST to WORST."""
    artifact = tiny_artifact()
    subnets = artifact.manifest.subnets
    accuracies = np.linspace(BEST, WORST, len(subnets))
    rated = tuple(replace(each, accuracy=float(a)) for each, a in zip(subnets, accuracies, strict=True))
    return replace(artifact, manifest=replace(artifact.manifest, subnets=rated))


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPrometheus]:
    """A Prometheus that scrapes two processes of one model, of which each has answered as many requests."""
    tool("prometheus")
    folder = tmp_path_factory.mktemp("monitored")
    shared = tmp_path_factory.mktemp("shared")  # as where people come from other servers; it must do no harm
    write(folder / "tiny.onnx", rated_artifact())
    values = np.zeros((1, 3, 5, 5), np.float32).tolist()
    request = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 3, 5, 5], "data": values}]}
    with (
        server(folder / "tiny.onnx", folder / "cache") as one,
        server(folder / "tiny.onnx", folder / "cache", PROMETHEUS_MULTIPROC_DIR=str(shared)) as other,
        prometheus(folder, one, other) as found,
    ):
        until(lambda: len(found.query("downshift_ready == 1")) == 2, "both are scraped")
        for client in (one, other):
            for _ in range(REQUESTS):
                answer = client.post("/v2/models/tiny/infer", json=request, headers={"traceparent": PARENT})
                assert answer.status_code == 200
            client.post("/v2/models/tiny/infer", json=request, headers={"X-Latency-Budget-Ms": "0.00001"})
        counted = f'sum(downshift_requests_total{{outcome="ok"}}) == {2 * REQUESTS}'
        until(lambda: found.query(counted), "the requests of both processes are counted")
        recorded = "job:downshift_slo_errors:ratio_rate5m > 0"
        until(lambda: found.query(recorded), "the rules have seen them")
        yield found


def value(samples: list[dict[str, Any]]) -> float:
    """Of the one sample."""
    [sample] = samples
    return float(sample["value"][1])


def test_both_processes_are_targets_of_their_own(scraped: RealPrometheus) -> None:
    targets = scraped.get("targets")["activeTargets"]
    assert [target["health"] for target in targets] == ["up", "up"]
    assert len({target["labels"]["instance"] for target in targets}) == 2


def test_counters_of_several_processes_add_up(scraped: RealPrometheus) -> None:
    each = scraped.query('sum by (instance) (downshift_requests_total{outcome="ok"})')
    assert [float(sample["value"][1]) for sample in each] == [REQUESTS, REQUESTS]
    assert value(scraped.query('sum(downshift_requests_total{outcome="expired"})')) == 2


def test_the_recorded_figures_are_those_of_the_requests(scraped: RealPrometheus) -> None:
    """The rules are evaluated every second; a figure of the second before may still be on its way."""
    missed = pytest.approx(1 / (REQUESTS + 1), rel=0.01)
    until(lambda: figure(scraped, "job:downshift_slo_errors:ratio_rate5m") == missed, "two misses are seen")
    until(
        lambda: WORST <= figure(scraped, "job:downshift_served_accuracy:mean") <= BEST,
        "an accuracy is recorded",
    )


def figure(scraped: RealPrometheus, name: str) -> float:
    """A recorded figure, NaN while there is none."""
    samples = scraped.query(name)
    return value(samples) if samples else math.nan


def test_a_slow_request_leads_to_its_trace(scraped: RealPrometheus) -> None:
    found = scraped.get(
        "query_exemplars", query="downshift_request_duration_seconds_bucket", start="0", end="9e9"
    )
    traces = {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
    assert traces == {TRACE}


def test_no_rule_fails_in_a_real_prometheus(scraped: RealPrometheus) -> None:
    groups = scraped.get("rules")["groups"]
    health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert set(health) == {
        rule.get("record") or rule["alert"] for kind in ("record", "alert") for rule in rules(kind)
    }
    until(
        lambda: (
            {rule["health"] for group in scraped.get("rules")["groups"] for rule in group["rules"]} == {"ok"}
        ),
        "every rule was evaluated",
    )


def test_every_expression_of_the_dashboard_is_evaluated(scraped: RealPrometheus) -> None:
    """And shows something, but for what needs a GPU, an alert or a malformed header."""
    shown = [
        each for each in expressions() if not any(word in each for word in ("gpu", "ALERTS", "malformed"))
    ]
    until(lambda: all(map(scraped.query, shown)), "every panel shows something")
    for expression in expressions():
        scraped.query(expression)


def test_what_replicas_are_scaled_by_is_always_one_number(scraped: RealPrometheus) -> None:
    for query in scaling():
        assert value(scraped.query(query)) >= 0 or "given_up" in query
        unknown = query.replace('job="downshift"', 'job="nobody"')
        assert value(scraped.query(unknown)) == 0
