from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from downshift.runtime.gpu.monitor import THROTTLE, Gpu
from downshift.server.catalog import Catalog
from downshift.server.telemetry.machine_metrics import MachineMetrics
from tests.server.doubles import Load, ScriptedBackend


def scene(*gpus: Gpu) -> tuple[Catalog, CollectorRegistry]:
    catalog, registry = Catalog(["pets", "cars"]), CollectorRegistry()
    registry.register(MachineMetrics(catalog))
    catalog.publish("pets", ScriptedBackend(load=Load(gpus=gpus)))
    return catalog, registry


def test_ready_is_one_while_every_model_answers() -> None:
    catalog, registry = scene()
    assert registry.get_sample_value("downshift_ready") == 0
    catalog.publish("cars", ScriptedBackend())
    assert registry.get_sample_value("downshift_ready") == 1
    catalog.drain()
    assert registry.get_sample_value("downshift_ready") == 0


def test_a_gpu_is_reported_once_however_many_models_see_it() -> None:
    catalog, registry = scene(Gpu("GPU-1", 0.75, 2**30, 2**31), Gpu("GPU-2", 0.0))
    catalog.publish("cars", ScriptedBackend(load=Load(gpus=(Gpu("GPU-1", 0.75, 2**30, 2**31),))))
    assert registry.get_sample_value("downshift_gpu_utilization_ratio", {"gpu": "GPU-1"}) == 0.75
    assert registry.get_sample_value("downshift_gpu_memory_bytes", {"gpu": "GPU-1"}) == 2**30
    assert registry.get_sample_value("downshift_gpu_utilization_ratio", {"gpu": "GPU-2"}) == 0
    assert generate_latest(registry).count(b'downshift_gpu_memory_bytes{gpu="GPU-1"}') == 1


def test_two_models_on_one_gpu_keep_it_busy_together() -> None:
    catalog, registry = scene(Gpu("GPU-1", 0.9, 1, busy=0.25))
    catalog.publish("cars", ScriptedBackend(load=Load(gpus=(Gpu("GPU-1", 0.9, 1, busy=0.5),))))
    assert registry.get_sample_value("downshift_gpu_busy_ratio", {"gpu": "GPU-1"}) == 0.75


def test_what_is_not_measured_has_no_series_and_throttling_has_one_for_each_reason() -> None:
    _, registry = scene(Gpu("MIG-1", None, 5, 9, ("power-cap",)))
    assert registry.get_sample_value("downshift_gpu_utilization_ratio", {"gpu": "MIG-1"}) is None
    assert registry.get_sample_value("downshift_gpu_memory_total_bytes", {"gpu": "MIG-1"}) == 9
    found = {
        reason: registry.get_sample_value("downshift_gpu_throttled", {"gpu": "MIG-1", "reason": reason})
        for reason in THROTTLE.values()
    }
    assert {reason for reason, value in found.items() if value == 1.0} == {"power-cap"}
    assert all(value is not None for value in found.values())


def test_of_a_lost_gpu_it_is_told_that_it_is_lost_and_nothing_that_is_not_known() -> None:
    _, registry = scene(Gpu("GPU-1", lost=True))
    assert registry.get_sample_value("downshift_gpu_lost", {"gpu": "GPU-1"}) == 1
    assert registry.get_sample_value("downshift_gpu_memory_bytes", {"gpu": "GPU-1"}) is None


def test_without_a_driver_there_is_no_gpu_series() -> None:
    _, registry = scene()
    text = generate_latest(registry).decode()
    assert "gpu=" not in text
