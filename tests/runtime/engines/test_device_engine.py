"""Which engines there are for GPUs, and what they say where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from downshift.models.errors import UnknownName
from downshift.runtime.engines import device_engine
from downshift.runtime.engines.programs import load_engines
from downshift.runtime.engines.table import DEFAULT_ENGINES, DEFAULT_GPU_ENGINES, ON_DEVICE, load_engine
from downshift.runtime.errors import DeviceUnavailable, EngineUnavailable, UnsupportedModel
from downshift.runtime.gpu import driver
from downshift.runtime.gpu.driver import Device, DeviceChoice
from downshift.runtime.json_cache import JsonCache
from tests.models.tiny_artifact import tiny_artifact
from tests.runtime.small_onnx import normal

if TYPE_CHECKING:
    from pathlib import Path

DEVICES = (Device(0, "GPU-a", "one"), Device(1, "GPU-b", "two"))
has_gpu = driver.answers()


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two of them, and every library."""
    monkeypatch.setattr(driver, "find_devices", lambda: DEVICES)
    monkeypatch.setattr(device_engine, "preload", lambda provider: None)


@pytest.mark.skipif(has_gpu, reason="there is a GPU")
@pytest.mark.parametrize("name", sorted(ON_DEVICE))
def test_without_a_gpu_its_engines_say_what_is_missing(name: str) -> None:
    with pytest.raises(EngineUnavailable, match=f"engine {name}: .*; install the NVIDIA driver"):
        load_engine(name, JsonCache(None))


@pytest.mark.skipif(has_gpu, reason="there is a GPU")
def test_without_a_gpu_none_is_tried_unasked_and_nothing_is_said() -> None:
    engines = load_engines(None, JsonCache(None))
    assert not set(engines.versions) & ON_DEVICE
    assert not [reason for reason in engines.skipped if "cuda" in reason]
    assert engines.on_device == frozenset()


@pytest.mark.skipif(has_gpu, reason="there is a GPU")
def test_a_gpu_that_is_named_and_not_there_is_an_error() -> None:
    with pytest.raises(DeviceUnavailable, match="install the NVIDIA driver"):
        load_engines(None, JsonCache(None), DeviceChoice("cuda:1"))


@pytest.mark.usefixtures("two_gpus")
def test_where_there_is_a_gpu_its_engines_are_tried_by_default() -> None:
    engines = load_engines(None, JsonCache(None))
    assert list(engines.versions) == [*DEFAULT_ENGINES, *DEFAULT_GPU_ENGINES]
    assert engines.on_device == frozenset(DEFAULT_GPU_ENGINES)
    assert {engine.name: getattr(engine, "device", None) for engine in engines.loaded} == {
        **dict.fromkeys(DEFAULT_ENGINES),
        **dict.fromkeys(DEFAULT_GPU_ENGINES, DEVICES[0]),
    }


@pytest.mark.usefixtures("two_gpus")
def test_none_is_tried_for_those_who_choose_the_cpu() -> None:
    engines = load_engines(None, JsonCache(None), DeviceChoice("cpu"))
    assert list(engines.versions) == list(DEFAULT_ENGINES)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("wanted", ["cuda:1", "GPU-b", "GPU-b"[:5]])
def test_the_chosen_device_is_the_one_that_computes(wanted: str) -> None:
    made = load_engine("onnxruntime-cuda", JsonCache(None), DeviceChoice(wanted, memory=7))
    assert isinstance(made, device_engine.DeviceEngine)
    assert (made.device, made.memory) == (DEVICES[1], 7)


@pytest.mark.usefixtures("two_gpus")
def test_an_unknown_device_is_named_beside_those_there_are() -> None:
    with pytest.raises(UnknownName, match=r"unknown device 'cuda:2'.*cuda:0, cuda:1"):
        load_engines(None, JsonCache(None), DeviceChoice("cuda:2"))


@pytest.mark.usefixtures("two_gpus")
def test_tensorrt_keeps_its_engines_in_the_cache_and_cuda_has_none(tmp_path: Path) -> None:
    folders = {name: load_engine(name, JsonCache(tmp_path)).folder for name in ON_DEVICE}  # type: ignore[attr-defined]
    assert {name for name, folder in folders.items() if folder is None} == {
        name for name in ON_DEVICE if "cuda" in name
    }
    assert len(set(folders.values())) == 1 + sum("tensorrt" in name for name in ON_DEVICE)


@pytest.mark.usefixtures("two_gpus")
def test_a_library_that_is_nowhere_makes_the_engine_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def preload(provider: str) -> None:
        raise DeviceUnavailable("libnvinfer.so.10 is missing", "pip install it")

    monkeypatch.setattr(device_engine, "preload", preload)
    engines = load_engines(None, JsonCache(None))
    assert list(engines.versions) == list(DEFAULT_ENGINES)
    assert engines.skipped[-1] == ("engine onnxruntime-tensorrt: libnvinfer.so.10 is missing; pip install it")


def test_a_folder_that_cannot_be_made_costs_the_cache_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert device_engine._usable(tmp_path / "file" / "tensorrt") is None
    assert device_engine._usable(tmp_path / "new" / "tensorrt") == tmp_path / "new" / "tensorrt"


@pytest.mark.skipif(not has_gpu, reason="needs an NVIDIA GPU, its driver and downshift[cuda]")
@pytest.mark.parametrize("name", DEFAULT_GPU_ENGINES)
def test_a_real_gpu_answers_what_the_cpu_does(name: str, tmp_path: Path) -> None:
    artifact, cache = tiny_artifact(), JsonCache(tmp_path)
    try:
        made = load_engine(name, cache)
    except EngineUnavailable as reason:
        pytest.skip(str(reason))
    for subnet, program in made.compile(artifact, artifact.manifest.names, threads=1).items():
        on_cpu = load_engine("onnxruntime", cache).compile(artifact, [subnet], threads=1)[subnet]
        assert not isinstance(program, UnsupportedModel), program
        assert not isinstance(on_cpu, UnsupportedModel)
        for count in (1, 3, 8, 300):
            batch = normal(count, 3, 5, 5)
            np.testing.assert_allclose(program.run(batch), on_cpu.run(batch), atol=1e-2)
