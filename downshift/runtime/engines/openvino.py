"""The OpenVINO engine, optional (`pip install downshift[openvino]`): dense kernels, fp32, bf16 or int8."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov

from downshift.runtime.engines.exported import dense_model
from downshift.runtime.errors import EngineUnavailable, UnsupportedModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from downshift.models.artifact import Artifact
    from downshift.models.spec import Precision
    from downshift.runtime.json_cache import JsonCache
    from downshift.runtime.request import FloatArray

DEVICE = "CPU"


class OpenVinoProgram:
    """One sub-net compiled by OpenVINO for any batch size."""

    def __init__(self, engine: str, compiled: ov.CompiledModel) -> None:
        self.engine = engine
        self._request = compiled.create_infer_request()

    def run(self, batch: FloatArray, /) -> FloatArray:
        """Logits float32 [n, classes] for float32 [n, C, H, W]; raises OpenVINO's own errors."""
        answer = self._request.infer({0: batch}, share_inputs=True)
        return np.asarray(answer[0], dtype=np.float32)


@dataclass(frozen=True)
class OpenVinoEngine:
    """Compiles each sub-net; hint: what it computes in where numbers are not quantised, "f32" or "bf16"."""

    name: str
    hint: str
    precision: Precision = "fp32"

    @property
    def version(self) -> str:
        """OpenVINO's version."""
        return str(ov.__version__)

    def compile(
        self, artifact: Artifact, subnets: Sequence[str], *, threads: int
    ) -> Mapping[str, OpenVinoProgram | UnsupportedModel]:
        """A program for every named sub-net, or why there is none; one runs on `threads` threads."""
        core = ov.Core()
        options = {
            "INFERENCE_PRECISION_HINT": self.hint,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Threads tied to cores would meet those of other programs there.
            "ENABLE_CPU_PINNING": False,
        }
        programs: dict[str, OpenVinoProgram | UnsupportedModel] = {}
        for subnet in subnets:
            model = dense_model(artifact, subnet)
            try:
                compiled = core.compile_model(core.read_model(model), DEVICE, options)
            except RuntimeError as error:
                programs[subnet] = UnsupportedModel(f"engine {self.name}: sub-net {subnet}: {_reason(error)}")
            else:
                programs[subnet] = OpenVinoProgram(self.name, compiled)
        return programs


def _reason(error: RuntimeError) -> str:
    """The item of OpenVINO's summary that names the operators it does not read; else its last line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    items = [line.removeprefix("-- ") for line in lines if line.startswith("-- ")]
    return (items or lines)[-1].strip()


def fp32(_cache: JsonCache) -> OpenVinoEngine:
    """OpenVINO in float32; raises `EngineUnavailable` where it has no CPU device."""
    return _on_cpu("openvino", "f32")


def bf16(_cache: JsonCache) -> OpenVinoEngine:
    """OpenVINO in bfloat16; raises `EngineUnavailable` where the processor does not compute in it."""
    return _on_cpu("openvino-bf16", "bf16")


def int8(_cache: JsonCache) -> OpenVinoEngine:
    """OpenVINO for quantised sub-nets; raises `EngineUnavailable` where it has no CPU device."""
    return replace(_on_cpu("openvino-int8", "f32"), precision="int8")


def _on_cpu(name: str, hint: str) -> OpenVinoEngine:
    core = ov.Core()
    if DEVICE not in core.available_devices:
        raise EngineUnavailable(name, f"OpenVINO has no device {DEVICE} here", "choose another engine")
    able = core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    if hint == "bf16" and "BF16" not in able:
        raise EngineUnavailable(name, "this processor does not compute in bfloat16", "use openvino")
    return OpenVinoEngine(name, hint)
