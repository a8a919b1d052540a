"""Writer of V2 infer responses, in JSON and in the protocol's binary extension.

Classes: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from downshift.server.v2.datatype import FP32

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from downshift.models.spec import Manifest
    from downshift.server.v2.infer_request import RequestedOutput


@dataclass(frozen=True)
class InferBody:
    """A response body; `json_size`: length of the JSON if binary tensor data follows it, else None."""

    content: bytes
    json_size: int | None


def write_infer(
    answer: Mapping[str, Any], outputs: NDArray[np.float32], manifest: Manifest, requested: RequestedOutput
) -> InferBody:
    """The body that adds outputs float32 [N, classes] to `answer` (model name, version, id, parameters).

    With classification the tensor is BYTES [N, requested classes], each `value:index:label`, in descending
    order of value.
    """
    if requested.classes is None:
        flat = np.ascontiguousarray(outputs, dtype=FP32.wire).ravel()
        tensor = {"name": manifest.output, "datatype": FP32.name, "shape": list(outputs.shape)}
        return _binary(answer, tensor, flat.tobytes()) if requested.binary else _json(answer, tensor, flat)
    texts = class_texts(outputs, manifest.labels, requested.classes)
    tensor = {"name": manifest.output, "datatype": "BYTES", "shape": [len(outputs), requested.classes]}
    return _binary(answer, tensor, bytes_tensor(texts)) if requested.binary else _json(answer, tensor, texts)


def bytes_tensor(texts: Iterable[str]) -> bytes:
    """A BYTES tensor in binary: every element prefixed by its length as little-endian uint32."""
    return b"".join(struct.pack("<I", len(text)) + text for text in map(str.encode, texts))


def class_texts(outputs: NDArray[np.float32], labels: Sequence[str], count: int) -> list[str]:
    """`value:index:label` of each row's best classes, the largest value first, one row after the other."""
    return [text for row in outputs for text in _top(row, labels, count)]


def _top(row: NDArray[np.float32], labels: Sequence[str], count: int) -> list[str]:
    best = np.argsort(-row, kind="stable")[:count]
    return [f"{np.format_float_positional(row[i], trim='-')}:{i}:{labels[i]}" for i in best]


def _json(answer: Mapping[str, Any], tensor: Mapping[str, Any], data: object) -> InferBody:
    content = {**answer, "outputs": [{**tensor, "data": data}]}
    return InferBody(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), None)


def _binary(answer: Mapping[str, Any], tensor: Mapping[str, Any], data: bytes) -> InferBody:
    parameters = {"binary_data_size": len(data)}
    head = orjson.dumps({**answer, "outputs": [{**tensor, "parameters": parameters}]})
    return InferBody(head + data, len(head))
