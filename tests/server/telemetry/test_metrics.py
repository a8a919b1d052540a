from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import orjson
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from downshift.runtime.errors import (
    AccuracyUnavailable,
    DeadlineExpired,
    DeadlineImpossible,
    Draining,
    QueueFull,
)
from downshift.runtime.gpu.monitor import Gpu
from downshift.runtime.request import Outcome, Request
from downshift.server.demand import Budget
from downshift.server.telemetry.metrics import NO_SUBNET, Metrics
from tests.runtime import doubles as runtime
from tests.server.doubles import ENGINE, Load, Queue, ScriptedBackend, manifest, serving, tensor

REQUEST = Request(np.zeros((1, 3, 2, 2), np.float32))
BATCH = runtime.batch("s90", ENGINE, "slack", requests=3, examples=5, expected_seconds=0.002)


class Fixture:
    """Metrics at a time that can be set, and the events of one model."""

    def __init__(self) -> None:
        self.time = 100.0
        self.metrics = Metrics(CollectorRegistry(), now=lambda: self.time)
        self.events = self.metrics.announce("pets", manifest(), [ENGINE])

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"downshift_{name}", labels)

    def settle(self, outcome: Outcome, subnet: str | None = "s90") -> None:
        engine = None if subnet is None else ENGINE
        error = DeadlineExpired(1.0) if outcome is Outcome.EXPIRED else None
        self.events.settled(runtime.settled(REQUEST, outcome, subnet, engine, 0.004, 0.002, error))


@pytest.fixture
def scene() -> Fixture:
    return Fixture()


def series(metrics: Metrics) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Name and labels of every sample."""
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {(s.name, tuple(sorted(s.labels.items()))) for family in families for s in family.samples}


def test_known_label_sets_start_at_zero(scene: Fixture) -> None:
    for subnet in ("s50", "s90", NO_SUBNET):
        for outcome in Outcome:
            assert scene.value("requests_total", subnet=subnet, outcome=outcome) == 0
    for reason in ("accurate", "slack", "queue", "fastest", "pinned", "fixed"):
        assert scene.value("subnet_selected_total", subnet="s90", reason=reason) == 0
    for source in ("none", "timeout", "x-latency-budget-ms", "grpc-timeout", "prefer"):
        assert scene.value("budget_source_total", source=source) == 0
    assert scene.value("request_duration_seconds_count", subnet="s50") == 0
    assert scene.value("compute_duration_seconds_count", subnet="s90", engine=ENGINE) == 0
    assert scene.value("artifact_info", model="pets", network="scripted", sha256="ab" * 32) == 1


def test_the_search_for_faster_programs_is_a_ratio_that_is_one_where_there_is_none(scene: Fixture) -> None:
    assert scene.value("tuning_progress_ratio", model="pets") == 1
    scene.events.improved(0.25, "tuning s90")
    assert scene.value("tuning_progress_ratio", model="pets") == 0.25


def test_a_tuned_program_that_is_refused_is_counted(scene: Fixture) -> None:
    assert scene.value("programs_refused_total", model="pets") == 0
    scene.events.unfit("s90", ENGINE)
    assert scene.value("programs_refused_total", model="pets") == 1


def test_the_outcomes_are_those_of_the_specification() -> None:
    assert set(Outcome) == {"ok", "late", "expired", "shed", "cancelled", "invalid", "failed"}


def test_a_batch_is_counted_when_it_starts_and_ends(scene: Fixture) -> None:
    scene.events.started(BATCH)
    scene.events.finished(BATCH, 0.003, None)
    assert scene.value("subnet_selected_total", subnet="s90", reason="slack") == 3
    assert scene.value("batch_size_sum") == 5
    assert scene.value("compute_duration_seconds_sum", subnet="s90", engine=ENGINE) == 0.003
    assert scene.value("latency_prediction_ratio_sum") == pytest.approx(1.5)


def test_a_failed_batch_has_no_speed(scene: Fixture) -> None:
    scene.events.finished(BATCH, 0.003, RuntimeError("broken"))
    assert scene.value("compute_duration_seconds_count", subnet="s90", engine=ENGINE) == 0
    assert scene.value("latency_prediction_ratio_count") == 0


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_end_is_counted_once_under_its_sub_net(scene: Fixture, outcome: Outcome) -> None:
    scene.settle(outcome)
    assert scene.value("requests_total", subnet="s90", outcome=outcome.value) == 1
    assert scene.value("queue_wait_seconds_sum") == 0.004


def test_what_was_never_executed_has_no_sub_net_and_no_wait(scene: Fixture) -> None:
    scene.settle(Outcome.EXPIRED, None)
    assert scene.value("requests_total", subnet=NO_SUBNET, outcome="expired") == 1
    assert scene.value("queue_wait_seconds_count") == 0


@pytest.mark.parametrize(
    ("error", "outcome", "counts"),
    [
        (DeadlineImpossible(0.001, 0.002), "expired", True),
        (QueueFull(8, 1.0), "shed", True),
        (Draining(), "shed", True),
        (AccuracyUnavailable(0.95, 0.9), "invalid", False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refusal_is_counted_and_lowers_attainment_unless_the_client_erred(
    scene: Fixture, error: Exception, outcome: str, counts: bool
) -> None:
    scene.settle(Outcome.OK)
    scene.events.rejected(REQUEST, error)
    assert scene.value("requests_total", subnet=NO_SUBNET, outcome=outcome) == 1
    assert scene.value("slo_attainment_ratio") == (0.5 if counts else 1.0)


def test_attainment_and_served_accuracy_are_those_of_the_last_minute(scene: Fixture) -> None:
    scene.settle(Outcome.LATE)
    scene.time += 50
    scene.settle(Outcome.OK, "s50")
    scene.settle(Outcome.OK, "s90")
    scene.settle(Outcome.CANCELLED)
    assert scene.value("slo_attainment_ratio") == pytest.approx(2 / 3)
    assert scene.value("served_accuracy") == pytest.approx((0.9 + 0.8) / 2)
    scene.time += 30
    assert scene.value("slo_attainment_ratio") == 1.0


def test_queue_and_load_are_read_from_the_backend_at_every_scrape(scene: Fixture) -> None:
    assert scene.value("queue_depth") == 0
    assert scene.value("cpu_utilization_ratio") == 0
    assert scene.value("slowdown_ratio") == 1.0
    queue = Queue(queued=7, in_flight=2, slowdown=1.25)
    scene.metrics.watch(ScriptedBackend(scheduler=queue))
    assert scene.value("queue_depth") == 7
    assert scene.value("inflight_requests") == 2
    assert scene.value("slowdown_ratio") == 1.25
    assert scene.value("cpu_utilization_ratio") == 0.25


def test_budgets_are_counted_by_source_and_malformed_ones_too(scene: Fixture) -> None:
    scene.metrics.granted(Budget(0.1, "grpc-timeout", ("prefer", "request-timeout")))
    assert scene.value("budget_source_total", source="grpc-timeout") == 1
    assert scene.value("budget_malformed_total", source="prefer") == 1
    assert scene.value("budget_malformed_total", source="request-timeout") == 1


SPECIFIED = {
    "requests_total": {"subnet", "outcome"},
    "request_duration_seconds_bucket": {"subnet", "le"},
    "queue_wait_seconds_bucket": {"le"},
    "compute_duration_seconds_bucket": {"subnet", "engine", "le"},
    "batch_size_bucket": {"le"},
    "queue_depth": set(),
    "inflight_requests": set(),
    "slo_attainment_ratio": set(),
    "served_accuracy": set(),
    "latency_prediction_ratio_bucket": {"le"},
    "subnet_selected_total": {"subnet", "reason"},
    "budget_source_total": {"source"},
    "cpu_utilization_ratio": set(),
    "gpu_utilization_ratio": {"gpu"},
    "gpu_memory_bytes": {"gpu"},
    "artifact_info": {"model", "network", "sha256"},
    "build_info": {"version", "python"},
}


async def test_names_and_labels_are_those_of_the_specification_before_the_first_request() -> None:
    backend = ScriptedBackend(load=Load(gpus=(Gpu("GPU-1", 0.5, 2**30, 2**31),)))
    async with serving(backend) as served:
        found = {name: {label for label, _ in labels} for name, labels in series(served.metrics)}
    for name, labels in SPECIFIED.items():
        assert found[f"downshift_{name}"] == labels


RANDOM_REQUESTS = 20_000


async def test_no_request_adds_a_series() -> None:
    """Random paths, methods, headers, model names, pins and bodies, straight into the application."""
    random = Random(1)

    def word() -> str:
        return "".join(random.choices("abcxyz0189_%-./", k=random.randint(1, 12)))

    async with serving() as served:
        served.backend.keep = False
        before = series(served.metrics)
        statuses: Counter[int] = Counter()
        for number in range(RANDOM_REQUESTS):
            path = random.choice(
                ("/" + word(), f"/v2/models/{word()}/infer", "/v2/models/pets/infer", "/predict")
            )
            names = (
                "x-subnet",
                "x-latency-budget-ms",
                "prefer",
                "x-request-id",
                "traceparent",
                "x-" + word(),
            )
            headers = [(name.encode(), word().encode()) for name in random.sample(names, 2)]
            method = random.choice(("GET", "POST", word().upper()))
            statuses[await _call(served.app, method, path, headers, INFER if number % 3 else b"{")] += 1
        answered = await served.client.post("/v2/models/pets/infer", json=tensor())
        assert series(served.metrics) == before
    assert answered.status_code == 200
    assert {200, 400, 404, 405} <= set(statuses)


INFER = orjson.dumps(tensor())


async def _call(app: Any, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> int:
    """The status of the application's answer to that request."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [*headers, (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 5),
        "server": ("server", 80),
    }
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])
    statuses = []

    async def receive() -> dict[str, Any]:
        for message in messages:
            return message
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    [status] = statuses
    return int(status)


async def test_the_endpoint_speaks_prometheus() -> None:
    async with serving() as served:
        await served.client.post(
            "/v2/models/pets/infer", json=tensor(), headers={"X-Latency-Budget-Ms": "9000"}
        )
        response = await served.client.get("/metrics")
        exposed = await served.client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert exposed.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert exposed.text.endswith("# EOF\n")
    assert 'downshift_budget_source_total{source="x-latency-budget-ms"} 1.0' in response.text
    assert 'downshift_request_duration_seconds_count{subnet="s50"} 1.0' in response.text


async def test_a_sampled_trace_becomes_an_exemplar() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with serving() as served:
        for flags in ("00", "01"):
            headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-{flags}"}
            await served.client.post("/v2/models/pets/infer", json=tensor(), headers=headers)
            openmetrics = {"Accept": "application/openmetrics-text"}
            text = (await served.client.get("/metrics", headers=openmetrics)).text
            assert (f'# {{trace_id="{trace}"}}' in text) is (flags == "01")
