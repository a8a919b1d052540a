"""The engines there are: one line each, imported only when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from models.errors import UnknownName
from runtime.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runtime.engine import Engine

# name -> "module:factory"; given the folder for what it wants to remember, the factory returns an engine, or
# raises EngineUnavailable where that cannot work
ENGINES: Mapping[str, str] = {
    "sparse": "runtime.sparse_engine:cpu",
    "onnxruntime": "runtime.onnx_engine:cpu",
    "openvino": "runtime.openvino_engine:fp32",
    "openvino-bf16": "runtime.openvino_engine:bf16",
    "onnxruntime-cuda": "runtime.onnx_engine:cuda",
    "onnxruntime-tensorrt": "runtime.onnx_engine:tensorrt",
}

# tried when nobody asked for particular ones; those that cannot work here are passed over
DEFAULT_ENGINES: Sequence[str] = ("sparse", "onnxruntime")


def load_engine(name: str, cache_dir: Path) -> Engine:
    """The named engine; raises `UnknownName`, or `EngineUnavailable` with the reason and remedy.

    cache_dir: where it may keep what it finds out about this machine.
    """
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES)
    module, factory = ENGINES[name].split(":")
    try:
        engine = getattr(import_module(module), factory)(cache_dir)
    except ImportError as error:
        raise EngineUnavailable(f"engine {name}: {error}; install what it needs or choose another") from error
    return cast("Engine", engine)
