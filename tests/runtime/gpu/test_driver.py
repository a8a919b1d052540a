"""CUDA's devices and NVML's samples, asked in a process of its own that finds the played driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from downshift.runtime.errors import DeviceUnavailable
from downshift.runtime.gpu.driver import DeviceChoice, answers, find_devices
from downshift.runtime.gpu.monitor import GpuMonitor
from tests.runtime.gpu.fake_driver import MIG, A, B, FakeDriver, PlayedGpu, needs_compiler

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = needs_compiler

SCRIPT = """
import json, sys
from dataclasses import asdict
from downshift.models.errors import UnknownName
from downshift.runtime.errors import DeviceUnavailable
from downshift.runtime.gpu.driver import DeviceChoice, find_device, find_devices
from downshift.runtime.gpu.monitor import GpuMonitor
monitor = GpuMonitor()
told = {"uuids": monitor.uuids, "models": monitor.models, "gpus": [asdict(gpu) for gpu in monitor.read()]}
try:
    told["devices"] = [asdict(device) for device in find_devices()]
except DeviceUnavailable as error:
    told["missing"] = [error.missing, error.remedy]
for wanted in sys.argv[1:]:
    try:
        told[wanted] = find_device(wanted).uuid
    except (UnknownName, DeviceUnavailable) as error:
        told[wanted] = str(error)
told["wants_gpu"] = DeviceChoice().wants_gpu
print(json.dumps(told))
"""


def ask(driver: FakeDriver, *wanted: str, **more: str) -> Mapping[str, Any]:
    environment = {**os.environ, **driver.environment, **more}
    command = [sys.executable, "-c", SCRIPT, *wanted]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told: Mapping[str, Any] = json.loads(done.stdout)
    return told


def test_every_gpu_is_a_device_by_its_uuid(driver: FakeDriver) -> None:
    driver.tell(PlayedGpu(uuid=A, utilization=25, used=5), PlayedGpu(uuid=B))
    told = ask(driver, "cuda", "cuda:1", B, "GPU-bbbb", "cuda:7", "MIG-x")
    assert told["devices"] == [
        {"ordinal": 0, "uuid": A, "name": "Played GPU"},
        {"ordinal": 1, "uuid": B, "name": "Played GPU"},
    ]
    assert [told[each] for each in ("cuda", "cuda:1", B, "GPU-bbbb")] == [A, B, B, B]
    assert told["cuda:7"].startswith("unknown device 'cuda:7'")
    assert "cuda:0, cuda:1" in told["MIG-x"]
    assert told["models"] == ["Played GPU", "Played GPU"]
    assert told["gpus"][0]["utilization"] == 0.25
    assert told["gpus"][0]["memory"] == 5
    assert told["wants_gpu"]


def test_an_instance_of_a_partitioned_gpu_is_a_device_whose_utilization_nobody_measures(
    driver: FakeDriver,
) -> None:
    driver.tell(PlayedGpu(uuid=A), PlayedGpu(uuid=MIG, utilization=None, used=7, parent=0))
    told = ask(driver, "MIG-cc")
    assert [device["uuid"] for device in told["devices"]] == [MIG] == [told["MIG-cc"]]
    assert told["uuids"] == [A, MIG]
    assert told["models"] == ["Played GPU"], "an instance is no GPU of its own"
    assert (told["gpus"][1]["utilization"], told["gpus"][1]["memory"]) == (None, 7)


def test_reasons_of_throttling_have_names(driver: FakeDriver) -> None:
    driver.tell(PlayedGpu(reasons=0x1 | 0x4 | 0x40))
    assert ask(driver)["gpus"][0]["throttled"] == ["power-cap", "hardware-thermal"]


def test_a_gpu_that_is_lost_from_the_beginning_is_none(driver: FakeDriver) -> None:
    driver.tell(PlayedGpu(uuid=A, lost=True), PlayedGpu(uuid=B))
    assert ask(driver)["uuids"] == [B]


def test_cuda_that_does_not_start_is_named_with_its_error(driver: FakeDriver) -> None:
    driver.tell(PlayedGpu())
    told = ask(driver, FAKE_CUDA_FAILS="1")
    assert told["missing"][0] == "the NVIDIA driver's cuInit fails with CUDA error 100"
    assert not told["wants_gpu"]


def test_a_driver_without_a_device_is_none(driver: FakeDriver) -> None:
    driver.tell()
    assert ask(driver)["missing"][0] == "CUDA offers no device"


@pytest.mark.skipif(GpuMonitor().missing is None, reason="there is a GPU")
def test_without_a_driver_the_remedy_is_to_install_it() -> None:
    with pytest.raises(DeviceUnavailable, match=r"NVML does not answer.*; install the NVIDIA driver"):
        find_devices()
    assert not answers()
    assert not DeviceChoice().wants_gpu


def test_whoever_names_a_gpu_wants_one_and_whoever_names_the_cpu_does_not() -> None:
    assert DeviceChoice("cuda:1").wants_gpu
    assert not DeviceChoice("cpu").wants_gpu
