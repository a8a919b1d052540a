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
    settings = {"DOWNSHIFT_LOAD_RISE_GPU": "0.5", "DOWNSHIFT_LOAD_FALL_GPU": "0.3"}  # other work slows us
    with served(tmp_path, driver, SLOW, DOWNSHIFT_DEVICE=MIG, **settings) as client:

        def rested() -> bool:
            wait_for(lambda: gauge(client, "busy_ratio", MIG) == pytest.approx(0.0, abs=0.1))
            return subnet(client) == DENSEST

        wait_for(rested)
        wait_for(lambda: subnet(client) == SPARSEST)  # asked again and again: our batches fill its time
        assert (gauge(client, "busy_ratio", MIG) or 0.0) > 0.0
        assert gauge(client, "utilization_ratio", MIG) is None
        assert gauge(client, "memory_bytes", MIG) == 7
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


FAULTY = """
import os, time
from downshift.runtime.engines.onnxruntime import OnnxProgram
update, on_cpu = onnxruntime.OrtValue.update_inplace, OnnxProgram.run
def faulty(self, array):
    if os.path.exists({flag!r}):
        fault = open({flag!r}).read()
        if "memory" not in fault or len(array) > 1:
            raise RuntimeError(fault)
    update(self, array)
def slow(self, batch):
    time.sleep(0.003)  # so that the GPU is chosen
    return on_cpu(self, batch)
onnxruntime.OrtValue.update_inplace, OnnxProgram.run = faulty, slow
"""
BOTH = '["onnxruntime-cuda", "onnxruntime"]'


def post(client: httpx2.Client, subnet: str = DENSEST, examples: int = 1) -> httpx2.Response:
    """A request that pins a sub-net."""
    data = np.zeros(75 * examples).tolist()
    tensor = {"name": "image", "datatype": "FP32", "shape": [examples, 3, 5, 5], "data": data}
    return client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}, headers={"X-Subnet": subnet})


def retired(client: httpx2.Client) -> int:
    """Programs of the GPU that are out of service."""
    found = re.search(
        r'^downshift_programs_retired_total{engine="onnxruntime-cuda",model="tiny"} (\S+)$',
        client.get("/metrics").text,
        re.MULTILINE,
    )
    assert found is not None
    return int(float(found[1]))


def test_when_the_device_fails_for_good_the_next_engine_serves(tmp_path: Path, driver: FakeDriver) -> None:
    driver.tell(PlayedGpu())
    flag = tmp_path / "fault"
    with served(tmp_path, driver, FAULTY.format(flag=str(flag)), BOTH) as client:
        expected = post(client).json()["outputs"][0]["data"]
        assert retired(client) == 0
        flag.write_text("CUDA failure 999: unknown error ; GPU=0")
        answers = [post(client) for _ in range(4)]
        assert [each.status_code for each in answers] == [500, 500, 500, 200], "three batches, and no more"
        assert answers[-1].json()["outputs"][0]["data"] == pytest.approx(expected, abs=1e-5)
        assert [post(client, each).status_code for each in ("s1", "s2")] == [200, 200], (
            "the device is gone for all"
        )
        assert retired(client) == 3
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v2/health/ready").status_code == 200
    log = (tmp_path / "server.log").read_text()
    assert "3 device failures in a row" in log
    assert "s0 on onnxruntime-cuda, s1 on onnxruntime-cuda, s2 on onnxruntime-cuda" in log


def test_when_no_engine_is_left_the_server_is_dead_and_says_so(tmp_path: Path, driver: FakeDriver) -> None:
    driver.tell(PlayedGpu())
    flag = tmp_path / "fault"
    with served(tmp_path, driver, FAULTY.format(flag=str(flag))) as client:
        assert post(client).status_code == 200
        flag.write_text("CUDA failure 700: an illegal memory address was encountered")
        assert [post(client, examples=2).status_code for _ in range(4)] == [500, 500, 500, 503]
        live = client.get("/v2/health/live")
        assert (live.status_code, "restart this server" in live.json()["error"]) == (503, True)
        assert client.get("/v2/health/ready").status_code == 503


def test_for_want_of_memory_a_batch_fails_and_then_its_sub_net_alone_moves(
    tmp_path: Path, driver: FakeDriver
) -> None:
    driver.tell(PlayedGpu())
    flag = tmp_path / "fault"
    with served(tmp_path, driver, FAULTY.format(flag=str(flag)), BOTH) as client:
        flag.write_text("Failed to allocate memory for requested buffer of size 4096")
        assert post(client, examples=4).status_code == 500
        assert post(client, examples=1).status_code == 200, "one example fits"
        assert [post(client, examples=4).status_code for _ in range(3)] == [500, 500, 200]
        assert retired(client) == 1
        flag.unlink()
        assert [post(client, each, 4).status_code for each in ("s0", "s1", "s2")] == [200, 200, 200]
        assert retired(client) == 1
