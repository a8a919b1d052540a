"""A point of an artifact as plain ONNX: what `downshift export` writes and dense engines compile."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from downshift.models.materialize import materialize
from downshift.runtime.errors import CalibrationError, UnsupportedModel
from downshift.runtime.lowering.emit import emit
from downshift.runtime.lowering.emit_qdq import emit_qdq
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.quantize import quantize
from downshift.runtime.lowering.shrink import shrunk

if TYPE_CHECKING:
    import onnx

    from downshift.models.artifact import Artifact
    from downshift.models.spec import Int8Spec


def plain_model(artifact: Artifact, point: str) -> onnx.ModelProto:
    """The point as plain ONNX: float32, or int8 with QuantizeLinear and DequantizeLinear nodes.

    Raises `UnknownName`, and `UnsupportedModel` where its network cannot be quantised.
    """
    chosen = artifact.manifest.point(point)
    return (materialize if chosen.precision == "fp32" else qdq_model)(artifact, chosen.subnet.name)


def qdq_model(artifact: Artifact, subnet: str) -> onnx.ModelProto:
    """The sub-net in int8 as plain ONNX; see `lowering.emit_qdq`.

    Raises `UnknownName`, and `CalibrationError` where the sub-net was not quantised.
    """
    ranges = int8_of(artifact, subnet).ranges
    return emit_qdq(quantize(lower(materialize(artifact, subnet)), ranges))


def int8_of(artifact: Artifact, subnet: str) -> Int8Spec:
    """How the sub-net runs in int8; raises `UnknownName`, and `CalibrationError` where nothing says how."""
    int8 = artifact.manifest.subnet(subnet).int8
    if int8 is None:
        raise CalibrationError(
            f"sub-net {subnet} has no int8: run `downshift quantize` on the artifact first"
        )
    return int8


def dense_model(artifact: Artifact, point: str) -> bytes:
    """As `plain_model`, serialised and, where whole channels are removed in float32, physically smaller.

    A network that lowering does not know stays as it is: right, only not smaller.
    """
    model, chosen = plain_model(artifact, point), artifact.manifest.point(point)
    if chosen.precision == "fp32" and chosen.subnet.pattern.removes_channels:
        with suppress(UnsupportedModel):
            model = emit(shrunk(lower(model)))
    return bytes(model.SerializeToString())
