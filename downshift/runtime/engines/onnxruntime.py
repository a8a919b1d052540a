"""The onnxruntime engine on the CPU: every sub-net as a plain ONNX model, in float32 or int8."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from downshift.errors import first_line
from downshift.runtime.engines.exported import dense_model
from downshift.runtime.errors import UnsupportedModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from downshift.models.artifact import Artifact
    from downshift.models.spec import Precision
    from downshift.runtime.json_cache import JsonCache
    from downshift.runtime.request import FloatArray

PROVIDER = "CPUExecutionProvider"
ERRORS_ONLY = 3  # onnxruntime's log severity: warnings about placement are of no use to those who serve


class OnnxProgram:
    """One sub-net in an onnxruntime session."""

    def __init__(self, engine: str, session: ort.InferenceSession) -> None:
        self.engine = engine
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [session.get_outputs()[0].name]

    def run(self, batch: FloatArray, /) -> FloatArray:
        """Logits float32 [n, classes] for float32 [n, C, H, W]; raises onnxruntime's own errors."""
        outputs: list[Any] = self._session.run(self._outputs, {self._input: batch})
        return np.asarray(outputs[0], dtype=np.float32)


@dataclass(frozen=True)
class OnnxEngine:
    """Compiles each sub-net for the CPU."""

    name: str
    precision: Precision = "fp32"

    @property
    def version(self) -> str:
        """onnxruntime's version."""
        return str(ort.__version__)

    def compile(
        self, artifact: Artifact, subnets: Sequence[str], *, threads: int
    ) -> Mapping[str, OnnxProgram | UnsupportedModel]:
        """A program for every named sub-net, each with `threads` threads of its own, or why there is none."""
        with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
            compiled = pool.map(lambda subnet: self._compile(artifact, subnet, threads), subnets)
            return dict(zip(subnets, compiled, strict=True))

    def _compile(self, artifact: Artifact, subnet: str, threads: int) -> OnnxProgram | UnsupportedModel:
        model = dense_model(artifact, subnet)
        try:
            session = cpu_session(model, threads)
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no base class of their own
            return UnsupportedModel(f"engine {self.name}: sub-net {subnet}: {first_line(error)}")
        return OnnxProgram(self.name, session)


def cpu_session(model: bytes, threads: int = 0) -> ort.InferenceSession:
    """A session on the CPU, of that many threads; 0: as many as there are cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    # Idle threads that spin would starve the event loop and every other program on the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=[PROVIDER])


def cpu(_cache: JsonCache) -> OnnxEngine:
    """onnxruntime on the CPU; always available."""
    ort.disable_telemetry_events()
    return OnnxEngine("onnxruntime")


def int8(_cache: JsonCache) -> OnnxEngine:
    """onnxruntime on the CPU for quantised sub-nets; always available."""
    ort.disable_telemetry_events()
    return OnnxEngine("onnxruntime-int8", "int8")
