from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from downshift.runtime.gpu.monitor import Gpu
from downshift.runtime.request import Outcome, Request
from downshift.server.catalog import Catalog
from downshift.server.statistics import FailureReason, Statistics
from downshift.server.telemetry.triton_metrics import TritonMetrics
from tests.runtime import doubles as runtime
from tests.server.doubles import Load, Queue, ScriptedBackend

REQUEST = Request(np.zeros((2, 3, 2, 2), np.float32))
COUNTERS = {
    "nv_inference_request_success": 1,
    "nv_inference_count": 2,
    "nv_inference_exec_count": 1,
    "nv_inference_request_duration_us": 937_500,
    "nv_inference_queue_duration_us": 500_000,
    "nv_inference_compute_input_duration_us": 125_000,
    "nv_inference_compute_infer_duration_us": 250_000,
    "nv_inference_compute_output_duration_us": 62_500,
}


class Fixture:
    """A catalog with one model, and a registry that reports about it."""

    def __init__(self) -> None:
        self.backend, self.statistics = ScriptedBackend(), Statistics()
        self.catalog, self.registry = Catalog(["pets", "loading"]), CollectorRegistry()
        self.catalog.publish("pets", self.backend, self.statistics)
        self.registry.register(TritonMetrics(self.catalog))

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"model": "pets", "version": "1"} | labels)


@pytest.fixture
def scene() -> Fixture:
    return Fixture()


def test_every_counter_starts_at_zero(scene: Fixture) -> None:
    for name in COUNTERS:
        assert scene.value(name) == 0
    for reason in FailureReason:
        assert scene.value("nv_inference_request_failure", reason=reason) == 0


def test_every_counter_tells_what_was_counted(scene: Fixture) -> None:
    scene.statistics.finished(
        runtime.batch("s90", "scripted", "slack", requests=1, examples=2, expected_seconds=0.25), 0.25, None
    )
    scene.statistics.settled(runtime.settled(REQUEST, Outcome.OK, "s90", "scripted", 0.5, 0.25, None))
    scene.statistics.coded(0.125, 0.0625)
    scene.statistics.settled(runtime.settled(REQUEST, Outcome.CANCELLED, None, None, 0.5, 0.0, None))
    assert {name: scene.value(name) for name in COUNTERS} == COUNTERS
    assert scene.value("nv_inference_request_failure", reason="CANCELED") == 1


def test_what_waits_and_the_gpus_are_read_at_every_scrape(scene: Fixture) -> None:
    assert scene.value("nv_inference_pending_request_count") == 0
    scene.backend.scheduler = Queue(queued=7)
    scene.backend.load = Load(gpus=(Gpu("GPU-1", 0.5, 4096),))
    assert scene.value("nv_inference_pending_request_count") == 7
    assert scene.registry.get_sample_value("nv_gpu_utilization", {"gpu_uuid": "GPU-1"}) == 0.5
    assert scene.registry.get_sample_value("nv_gpu_memory_used_bytes", {"gpu_uuid": "GPU-1"}) == 4096


def test_of_a_lost_gpu_nothing_is_told(scene: Fixture) -> None:
    scene.backend.load = Load(gpus=(Gpu("GPU-1", lost=True),))
    assert b"nv_gpu_memory_used_bytes{" not in generate_latest(scene.registry)


def test_a_gpu_that_two_models_see_is_reported_once(scene: Fixture) -> None:
    for name in ("pets", "loading"):
        scene.catalog.publish(name, ScriptedBackend(load=Load(gpus=(Gpu("GPU-1", 0.5, 4096),))))
    assert generate_latest(scene.registry).count(b"\nnv_gpu_utilization{") == 1


def test_no_name_is_changed_on_its_way_to_prometheus(scene: Fixture) -> None:
    text = generate_latest(scene.registry).decode()
    assert "_total" not in text
    assert '\nnv_inference_count{model="pets",version="1"} 0.0\n' in text
    assert "\n# TYPE nv_inference_count untyped\n" in text
    assert "\n# TYPE nv_inference_pending_request_count gauge\n" in text
