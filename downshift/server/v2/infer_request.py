"""Parser of V2 infer requests, in JSON and in the protocol's binary extension.

Independent of HTTP, except for the value of the length header. No schema library on the hot path: one pass
over orjson's output, or over the same fields of a gRPC message; every violation is a `BadInput`. orjson
limits the nesting depth to 1024.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from downshift.server.errors import BadInput
from downshift.server.v2.datatype import DATATYPES
from downshift.server.v2.flat_numbers import PIECE, cut_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from downshift.models.spec import Manifest
    from downshift.server.v2.datatype import Datatype

_LENGTH = re.compile(r"[0-9]{1,12}")
_MAX_ID = 256
LONG = 8 * PIECE  # bytes of JSON above which the body is parsed in chunks, off the event loop
_MAX_SHOWN = 60


@dataclass(frozen=True)
class RequestedOutput:
    """Format of the output tensor: in binary behind the JSON, or the best `classes` as BYTES."""

    binary: bool = False
    classes: int | None = None


@dataclass(frozen=True)
class InferRequest:
    """One V2 infer request, validated against its model.

    inputs: float32 [N, C, H, W], finite. id: echoed in the response. timeout, priority: the unparsed
    parameters, for `downshift.server.demand`.
    """

    inputs: NDArray[np.float32]
    id: str | None
    timeout: object
    priority: object
    requested: RequestedOutput


def read_infer(body: bytes, json_size: str | None, manifest: Manifest, max_batch: int) -> InferRequest:
    """The request in `body`; `json_size` is the Inference-Header-Content-Length header, if any.

    Raises `BadInput` naming the first violation.
    """
    head, tail = _split(body, json_size)
    return check_infer(_read_json(head), tail, manifest, max_batch)


def check_infer(request: Any, tail: bytes, manifest: Manifest, max_batch: int) -> InferRequest:
    """The request with these fields of the protocol's JSON, and the tensor's bytes unless it is among them.

    Raises `BadInput` naming the first thing that is wrong.
    """
    if not isinstance(request, dict):
        raise BadInput("the body must be a JSON object with 'inputs'")
    request_id = request.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= _MAX_ID):
        raise BadInput(f"id must be a string of at most {_MAX_ID} characters")
    parameters = _parameters(request, "parameters")
    return InferRequest(
        inputs=_read_input(request.get("inputs"), tail, manifest, max_batch),
        id=request_id or None,
        timeout=parameters.get("timeout"),
        priority=parameters.get("priority"),
        requested=_read_requested(request.get("outputs"), parameters, manifest),
    )


def _read_json(text: bytes) -> Any:
    """The parsed JSON; in a long request a flat `data` is a numpy array instead of a list."""
    try:
        if len(text) > LONG and (cut := cut_numbers(text)) is not None:
            request = orjson.loads(cut[0])
            with suppress(TypeError, LookupError):  # `data` is in another place: parse the whole
                if request["inputs"][0]["data"] == []:
                    request["inputs"][0]["data"] = cut[1]
                    return request
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the body is not valid JSON (NaN and Infinity are not either): {error}") from None


def _split(body: bytes, json_size: str | None) -> tuple[bytes, bytes]:
    """A body split into JSON and binary tensor data."""
    if json_size is None:
        return body, b""
    size = int(json_size) if _LENGTH.fullmatch(json_size) else -1
    if not 0 < size <= len(body):
        raise BadInput(
            f"Inference-Header-Content-Length {json_size[:40]!r}: give the JSON's length, "
            f"at most the body's {len(body)} bytes"
        )
    return body[:size], body[size:]


def _parameters(holder: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadInput(f"{where} must be a JSON object")
    return parameters


def _read_input(inputs: object, tail: bytes, manifest: Manifest, max_batch: int) -> NDArray[np.float32]:
    spec = manifest.input
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise BadInput(f"inputs must hold exactly one tensor, {spec.name!r}")
    tensor = inputs[0]
    if tensor.get("name") != spec.name:
        raise BadInput(f"inputs[0].name {_show(tensor.get('name'))}: this model's input is {spec.name!r}")
    datatype = _read_datatype(tensor.get("datatype"))
    shape = _read_shape(tensor.get("shape"), spec.shape, max_batch)
    size = _parameters(tensor, "inputs[0].parameters").get("binary_data_size")
    if size is None:
        if tail:
            raise BadInput("bytes follow the JSON, and inputs[0].parameters has no binary_data_size")
        values = _from_json(tensor.get("data"), shape, datatype)
    else:
        values = _from_bytes(tensor, size, tail, shape, datatype)
    return datatype.to_input(values, spec)


def _read_datatype(name: object) -> Datatype:
    datatype = DATATYPES.get(name) if isinstance(name, str) else None
    if datatype is None:
        raise BadInput(f"inputs[0].datatype {_show(name)}: send one of {', '.join(DATATYPES)}")
    return datatype


def _read_shape(shape: object, example: tuple[int, int, int], max_batch: int) -> tuple[int, ...]:
    wanted = f"[N, {', '.join(map(str, example))}] with N in 1 to {max_batch}"
    if (
        not isinstance(shape, list)
        or not all(type(side) is int for side in shape)
        or tuple(shape[1:]) != example
        or not 1 <= shape[0] <= max_batch
    ):
        raise BadInput(f"inputs[0].shape {_show(shape)}: this model takes {wanted}")
    return tuple(shape)


def _from_json(data: object, shape: tuple[int, ...], datatype: Datatype) -> NDArray[Any]:
    if not isinstance(data, list | np.ndarray):
        raise BadInput("inputs[0].data must be a list of numbers, flat or nested")
    try:
        values = np.asarray(data)
    except ValueError:
        raise BadInput("inputs[0].data is ragged: nest it evenly or send it flat") from None
    if values.dtype.kind not in "fiu":
        raise BadInput("inputs[0].data must hold numbers only")
    if values.shape not in (shape, (math.prod(shape),)):
        raise BadInput(f"inputs[0].data has shape {list(values.shape)[:8]}, not {list(shape)} nor flat")
    return datatype.cast(values.reshape(shape))


def _from_bytes(
    tensor: Mapping[str, Any], size: object, tail: bytes, shape: tuple[int, ...], datatype: Datatype
) -> NDArray[Any]:
    if "data" in tensor:
        raise BadInput("inputs[0] has both data and binary_data_size: send one of them")
    needed = math.prod(shape) * datatype.wire.itemsize
    if type(size) is not int or size != needed or len(tail) != needed:
        raise BadInput(
            f"inputs[0] of datatype {datatype.name} and shape {list(shape)} takes {needed} bytes, and "
            f"{len(tail)} were sent" + (f": binary_data_size says {_show(size)}" if size != len(tail) else "")
        )
    return np.frombuffer(tail, dtype=datatype.wire).reshape(shape)


def _read_requested(outputs: object, parameters: Mapping[str, Any], manifest: Manifest) -> RequestedOutput:
    name, default = manifest.output, parameters.get("binary_data_output") is True
    if outputs is None or outputs == []:
        return RequestedOutput(default)
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise BadInput(f"outputs must be a list of objects, such as [{{'name': {name!r}}}]")
    if unknown := [output.get("name") for output in outputs if output.get("name") != name]:
        raise BadInput(f"outputs names {_show(unknown[0])}: this model's output is {name!r}")
    if len(outputs) > 1:
        raise BadInput(f"outputs names {name!r} more than once")
    asked = _parameters(outputs[0], "outputs[0].parameters")
    classes, known = asked.get("classification"), len(manifest.labels)
    if classes is not None and not (type(classes) is int and 1 <= classes <= known):
        raise BadInput(
            f"outputs[0].parameters.classification {_show(classes)}: give a whole number from 1 to {known}"
        )
    return RequestedOutput(asked.get("binary_data", default) is True, classes)


def _show(value: object) -> str:
    """A client's value for an error message: truncated, in bounded time for any value."""
    text = f"[{', '.join(map(_show_one, value[:8]))}]" if isinstance(value, list) else _show_one(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _show_one(value: object) -> str:
    if isinstance(value, dict | list):
        return "{…}" if isinstance(value, dict) else "[…]"
    return repr(value[:_MAX_SHOWN] if isinstance(value, str) else value)
