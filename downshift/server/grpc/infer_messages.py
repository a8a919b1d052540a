"""An infer request out of its message, and its answer into one; `server/v2` says what either means."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from downshift.server.errors import BadInput
from downshift.server.grpc.inference_pb2 import ModelInferResponse
from downshift.server.grpc.messages import put, values
from downshift.server.v2.datatype import DATATYPES, FP32
from downshift.server.v2.flat_numbers import PAUSE
from downshift.server.v2.infer_request import check_infer
from downshift.server.v2.infer_response import bytes_tensor, class_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from downshift.models.spec import Manifest
    from downshift.server.catalog import Model
    from downshift.server.grpc.inference_pb2 import ModelInferRequest
    from downshift.server.inference import Report
    from downshift.server.v2.infer_request import InferRequest

CONTENTS: Mapping[str, tuple[str, type]] = {
    "FP32": ("fp32_contents", np.float32),
    "FP64": ("fp64_contents", np.float64),
    "UINT8": ("uint_contents", np.uint32),
}
"""Field and numpy type of the typed contents of a datatype; FP16 has none."""
_PIECE = 8192  # numbers that are taken out of a message at once: well below a millisecond


def read_message(asked: ModelInferRequest, manifest: Manifest, max_batch: int) -> InferRequest:
    """The request in the message; raises `BadInput` naming the first thing that is wrong."""
    raw = asked.raw_input_contents
    if raw and len(raw) != len(asked.inputs):
        raise BadInput(
            f"raw_input_contents holds {len(raw)} tensors for {len(asked.inputs)} inputs: send one for each"
        )
    tail = raw[0] if raw else b""
    fields = {
        "id": asked.id or None,
        "parameters": values(asked.parameters),
        "inputs": [_tensor(given, bool(raw), len(tail)) for given in asked.inputs],
        "outputs": [{"name": out.name, "parameters": values(out.parameters)} for out in asked.outputs],
    }
    return check_infer(fields, tail, manifest, max_batch)


def _tensor(given: Any, raw: bool, size: int) -> dict[str, Any]:
    """The fields of an input; `size` is of its raw contents."""
    fields = {"name": given.name, "datatype": given.datatype, "shape": list(given.shape)}
    if not raw:
        return fields | {"data": _typed(given)}
    if given.HasField("contents"):
        raise BadInput("inputs[0] has both contents and raw_input_contents: send one of them")
    return fields | {"parameters": {"binary_data_size": size}}


def _typed(given: Any) -> NDArray[Any]:
    """The values of an input's typed contents, flat."""
    if given.datatype in DATATYPES and given.datatype not in CONTENTS:
        raise BadInput(
            f"inputs[0] of datatype {given.datatype} has no typed contents: send raw_input_contents"
        )
    field, kind = CONTENTS.get(given.datatype, CONTENTS[FP32.name])
    numbers = getattr(given.contents, field)
    pieces: list[NDArray[Any]] = [np.empty(0, kind)]
    for begin in range(0, len(numbers), _PIECE):
        if begin:  # a list becomes an array without giving up the interpreter
            time.sleep(PAUSE)
        pieces.append(np.asarray(numbers[begin : begin + _PIECE], kind))
    return np.concatenate(pieces)


def write_message(
    asked: ModelInferRequest, read: InferRequest, model: Model, report: Report
) -> ModelInferResponse:
    """The answer: in raw contents where the request's were, else in typed ones."""
    manifest, outputs = model.backend.manifest, report.answer.outputs
    reply = ModelInferResponse(model_name=model.name, model_version=model.version, id=read.id or "")
    put(reply.parameters, report.parameters)
    tensor = reply.outputs.add(name=manifest.output)
    raw = bool(asked.raw_input_contents)
    if read.requested.classes is not None:
        texts = class_texts(outputs, manifest.labels, read.requested.classes)
        tensor.datatype = "BYTES"
        tensor.shape.extend((len(outputs), read.requested.classes))
        if raw:
            reply.raw_output_contents.append(bytes_tensor(texts))
        else:
            tensor.contents.bytes_contents.extend(map(str.encode, texts))
        return reply
    tensor.datatype = FP32.name
    tensor.shape.extend(outputs.shape)
    if raw:
        reply.raw_output_contents.append(np.ascontiguousarray(outputs, dtype=FP32.wire).tobytes())
    else:
        tensor.contents.fp32_contents.extend(outputs.ravel().tolist())
    return reply
