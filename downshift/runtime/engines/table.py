"""Registry of engines: one line each, imported when first loaded."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from downshift.models.errors import UnknownName
from downshift.runtime.errors import EngineUnavailable
from downshift.runtime.gpu.driver import DeviceChoice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from downshift.runtime.engines.engine import Engine
    from downshift.runtime.json_cache import JsonCache

# name -> "module:factory"; given a cache for what it measures, the factory returns an engine, or raises
# EngineUnavailable where that engine cannot work; one for GPUs is given the choice of a device as well
ENGINES: Mapping[str, str] = {
    "sparse": "downshift.runtime.engines.sparse:cpu",
    "sparse-int8": "downshift.runtime.engines.sparse_int8:cpu",
    "onnxruntime": "downshift.runtime.engines.onnxruntime:cpu",
    "onnxruntime-int8": "downshift.runtime.engines.onnxruntime:int8",
    "openvino": "downshift.runtime.engines.openvino:fp32",
    "openvino-bf16": "downshift.runtime.engines.openvino:bf16",
    "openvino-int8": "downshift.runtime.engines.openvino:int8",
    "onnxruntime-cuda": "downshift.runtime.engines.device_engine:cuda",
    "onnxruntime-cuda-graphs": "downshift.runtime.engines.device_engine:cuda_graphs",
    "onnxruntime-cuda-fp16": "downshift.runtime.engines.device_engine:cuda_fp16",
    "onnxruntime-tensorrt": "downshift.runtime.engines.device_engine:tensorrt",
    "onnxruntime-tensorrt-fp16": "downshift.runtime.engines.device_engine:tensorrt_fp16",
    "onnxruntime-tensorrt-bf16": "downshift.runtime.engines.device_engine:tensorrt_bf16",
}
ON_DEVICE = frozenset(name for name, where in ENGINES.items() if "device_engine" in where)
"""Engines that compute on a GPU."""

# module that an engine imports -> the extra of ours that installs it
EXTRAS: Mapping[str, str] = {"openvino": "openvino"}

# loaded when no engine is named; those that cannot work here are skipped
DEFAULT_ENGINES: Sequence[str] = ("sparse", "onnxruntime", "sparse-int8", "onnxruntime-int8")
# and after them where NVML and CUDA answer; half precision only for those who name it
DEFAULT_GPU_ENGINES: Sequence[str] = ("onnxruntime-cuda", "onnxruntime-cuda-graphs", "onnxruntime-tensorrt")


def default_engines(choice: DeviceChoice) -> Sequence[str]:
    """The engines to try when none is named."""
    return (*DEFAULT_ENGINES, *DEFAULT_GPU_ENGINES) if choice.wants_gpu else DEFAULT_ENGINES


def load_engine(name: str, cache: JsonCache, choice: DeviceChoice = DeviceChoice()) -> Engine:  # noqa: B008 - frozen
    """The named engine; raises `UnknownName`, or `EngineUnavailable` with the reason and remedy.

    cache: where it may keep what it measures on this machine. choice: of the GPU, for an engine on one.
    """
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES)
    module, factory = ENGINES[name].split(":")
    try:
        make = getattr(import_module(module), factory)
        engine = make(cache, choice) if name in ON_DEVICE else make(cache)
    except ImportError as error:
        extra = EXTRAS.get(error.name or "")
        remedy = f"pip install 'downshift[{extra}]'" if extra else "install what it needs or choose another"
        raise EngineUnavailable(name, str(error), remedy) from error
    return cast("Engine", engine)
