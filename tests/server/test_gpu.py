"""A real server on a played GPU: NVML and CUDA are libraries of ours, sessions run on the CPU provider.

Everything else is what runs on a machine with a GPU: the device's choice, bound buffers, sampling, the level,
metrics and the circuit breaker.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx2
import numpy as np
import pytest

from downshift.models.artifact import write
from tests.models.tiny_artifact import tiny_artifact
from tests.runtime.gpu.fake_driver import MIG, A, B, FakeDriver, PlayedGpu, needs_compiler
from tests.server.listening import wait_for
from tests.server.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_compiler

DENSEST, SPARSEST = "s0", "s2"
BODY = {
    "inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 3, 5, 5], "data": np.zeros(75).tolist()}]
}
PLAYED = """
import onnxruntime
from downshift.runtime.engines import device_engine
real, session = device_engine.DeviceEngine, onnxruntime.InferenceSession
device_engine.preload = lambda provider: None
device_engine.DeviceEngine = lambda **chosen: real(
    **{**chosen, "provider": "CPUExecutionProvider", "kind": "cpu", "sizes": (1, 2, 4)}
)
"""
SLOW = """
import time
quick = session.run_with_iobinding
def slow(self, *arguments):
    time.sleep(0.01)
    quick(self, *arguments)
session.run_with_iobinding = slow
"""


@contextmanager
def served(
    folder: Path, driver: FakeDriver, planted: str = "", engines: str = '["onnxruntime-cuda"]', **more: str
) -> Iterator[httpx2.Client]:
    """The tiny artifact on that driver's GPUs."""
    write(folder / "tiny.onnx", tiny_artifact())
    settings = {"DOWNSHIFT_THREADS": "1", "DOWNSHIFT_ENGINES": engines, "DOWNSHIFT_TUNE": "false"}
    environment = {**settings, **driver.environment, **more}
    with (
        ServerProcess(folder / "tiny.onnx", environment, PLAYED + planted) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as client,
    ):
        yield client


@pytest.fixture
def driver(tmp_path: Path) -> FakeDriver:
    return FakeDriver(tmp_path / "driver")


def subnet(client: httpx2.Client) -> str:
    """Who answers a request without a budget."""
    response = client.post("/v2/models/tiny/infer", json=BODY)
    assert response.status_code == 200, response.text
    answered: str = response.json()["parameters"]["subnet"]
    return answered


def gauge(client: httpx2.Client, name: str, uuid: str = A) -> float | None:
    """The present value of a GPU's metric; None where there is none."""
    found = re.search(
        rf'^downshift_gpu_{name}{{gpu="{uuid}"[^}}]*}} (\S+)$', client.get("/metrics").text, re.MULTILINE
    )
    return None if found is None else float(found[1])


def test_a_busy_gpu_brings_sparser_sub_nets_and_an_idle_one_the_densest(
    tmp_path: Path, driver: FakeDriver
) -> None:
    """100 % busy with others' work, so that nobody waits in our queue."""
    driver.tell(PlayedGpu(utilization=0))
    with served(tmp_path, driver) as client:
        assert subnet(client) == DENSEST
        driver.tell(PlayedGpu(utilization=100))
        wait_for(lambda: subnet(client) == SPARSEST)
        assert (gauge(client, "utilization_ratio") or 0.0) > 0.9
        driver.tell(PlayedGpu(utilization=0))
        wait_for(lambda: subnet(client) == DENSEST)


def test_a_gpu_that_we_do_not_serve_on_is_not_looked_at(tmp_path: Path, driver: FakeDriver) -> None:
    driver.tell(PlayedGpu(uuid=B, utilization=100), PlayedGpu(uuid=A, utilization=0, used=1))
    with served(tmp_path, driver, DOWNSHIFT_DEVICE="cuda:1") as client:
        for used in (2, 3, 4, 5, 6, 7):  # each seen, so as many samples were taken
            driver.tell(PlayedGpu(uuid=B, utilization=100), PlayedGpu(uuid=A, utilization=0, used=used))
            wait_for(lambda used=used: gauge(client, "memory_bytes") == used)
            assert subnet(client) == DENSEST
        assert f'gpu="{B}"' not in client.get("/metrics").text


def test_an_instance_of_a_partitioned_gpu_is_judged_by_our_own_busy_time(
    tmp_path: Path, driver: FakeDriver
) -> None:
    """NVML measures no utilisation there, and its GPU's own does not count."""
    driver.tell(PlayedGpu(utilization=100), PlayedGpu(uuid=MIG, utilization=None, used=7, parent=0))
    settings = {
        "DOWNSHIFT_LOAD_RISE_GPU": "0.5",
        "DOWNSHIFT_LOAD_FALL_GPU": "0.3",
    }  # a busy machine's CPU is slow
    with served(tmp_path, driver, SLOW, DOWNSHIFT_DEVICE=MIG, **settings) as client:
        assert subnet(client) == DENSEST
        wait_for(lambda: subnet(client) == SPARSEST)  # asked again and again: our batches fill its time
        assert (gauge(client, "busy_ratio", MIG) or 0.0) > 0.0
        assert gauge(client, "utilization_ratio", MIG) is None
        assert gauge(client, "memory_bytes", MIG) == 7
        wait_for(lambda: gauge(client, "busy_ratio", MIG) == pytest.approx(0.0, abs=0.01))

        def rested() -> bool:
            wait_for(lambda: gauge(client, "busy_ratio", MIG) == pytest.approx(0.0, abs=0.2))
            return subnet(client) == DENSEST

        wait_for(rested)


def test_throttling_is_told_with_its_reason(tmp_path: Path, driver: FakeDriver) -> None:
    driver.tell(PlayedGpu(reasons=0x20))
    with served(tmp_path, driver) as client:
        throttled = f'downshift_gpu_throttled{{gpu="{A}",reason="software-thermal"}} '
        wait_for(lambda: f"{throttled}1.0" in client.get("/metrics").text)
        driver.tell(PlayedGpu())
        wait_for(lambda: f"{throttled}0.0" in client.get("/metrics").text)


def test_a_lost_gpu_is_told_and_whatever_still_answers_is_served(tmp_path: Path, driver: FakeDriver) -> None:
    driver.tell(PlayedGpu(utilization=0))
    with served(tmp_path, driver) as client:
        assert gauge(client, "lost") in {0.0, None}
        driver.tell(PlayedGpu(lost=True))
        wait_for(lambda: gauge(client, "lost") == 1.0)
        assert gauge(client, "memory_bytes") is None
        assert subnet(client) == DENSEST
    assert f"GPU {A} is lost" in (tmp_path / "server.log").read_text()
