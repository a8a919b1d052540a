"""Registry of engines: one line each, imported when first loaded."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from downshift.models.errors import UnknownName
from downshift.runtime.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from downshift.runtime.engines.engine import Engine
    from downshift.runtime.json_cache import JsonCache

# name -> "module:factory"; given a cache for what it measures, the factory returns an engine, or raises
# EngineUnavailable where that engine cannot work
ENGINES: Mapping[str, str] = {
    "sparse": "downshift.runtime.engines.sparse:cpu",
    "sparse-int8": "downshift.runtime.engines.sparse_int8:cpu",
    "onnxruntime": "downshift.runtime.engines.onnxruntime:cpu",
    "onnxruntime-int8": "downshift.runtime.engines.onnxruntime:int8",
    "openvino": "downshift.runtime.engines.openvino:fp32",
    "openvino-bf16": "downshift.runtime.engines.openvino:bf16",
    "openvino-int8": "downshift.runtime.engines.openvino:int8",
    "onnxruntime-cuda": "downshift.runtime.engines.onnxruntime:cuda",
    "onnxruntime-tensorrt": "downshift.runtime.engines.onnxruntime:tensorrt",
}

# module that an engine imports -> the extra of ours that installs it
EXTRAS: Mapping[str, str] = {"openvino": "openvino"}

# loaded when no engine is named; those that cannot work here are skipped
DEFAULT_ENGINES: Sequence[str] = ("sparse", "onnxruntime", "sparse-int8", "onnxruntime-int8")


def load_engine(name: str, cache: JsonCache) -> Engine:
    """The named engine; raises `UnknownName`, or `EngineUnavailable` with the reason and remedy.

    cache: where it may keep what it measures on this machine.
    """
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES)
    module, factory = ENGINES[name].split(":")
    try:
        engine = getattr(import_module(module), factory)(cache)
    except ImportError as error:
        extra = EXTRAS.get(error.name or "")
        remedy = f"pip install 'downshift[{extra}]'" if extra else "install what it needs or choose another"
        raise EngineUnavailable(name, str(error), remedy) from error
    return cast("Engine", engine)
