"""Plain ONNX, read strictly: one self-contained graph of standard operators with its tensors inside.

What an image classifier never needs and a hostile file might use is refused by name: external data,
functions, sub-graphs, custom operators, sparse or quantisation side tables, and tensors whose bytes do not
match their shape.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]

from downshift.models.errors import ArtifactError
from downshift.models.portability import make_portable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    Array = NDArray[np.generic]

DTYPES: dict[int, np.dtype[np.generic]] = {
    onnx.TensorProto.FLOAT: np.dtype("<f4"),
    onnx.TensorProto.DOUBLE: np.dtype("<f8"),
    onnx.TensorProto.FLOAT16: np.dtype("<f2"),
    onnx.TensorProto.INT64: np.dtype("<i8"),
    onnx.TensorProto.INT32: np.dtype("<i4"),
    onnx.TensorProto.INT8: np.dtype("i1"),
    onnx.TensorProto.UINT8: np.dtype("u1"),
    onnx.TensorProto.BOOL: np.dtype("?"),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
TENSOR_FIELDS = {"dims", "data_type", "name", "raw_data"}
MOST_DIMENSIONS = 8
MOST_VALUES = 2**31
STANDARD_DOMAINS = ("", "ai.onnx")


def parse(data: bytes) -> onnx.ModelProto:
    """The model in the bytes, without fields this version does not know; `ArtifactError` if there is none."""
    if not data:
        raise ArtifactError("file", "is empty; export the artifact again")
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ArtifactError(
            "file", f"is not an ONNX model or was cut short ({error}); export it again"
        ) from error
    model.DiscardUnknownFields()
    return model


def serialize(model: onnx.ModelProto) -> bytes:
    """The model as bytes, the same for equal models; `ArtifactError` past the 2 GiB an ONNX file can hold."""
    try:
        data: bytes = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise ArtifactError("file", f"cannot hold this model ({error}); ONNX files end at 2 GiB") from error
    return data


def tensor(name: str, array: Array) -> onnx.TensorProto:
    """The array as an initializer whose bytes are little-endian `raw_data`."""
    dtype = array.dtype.newbyteorder("<")
    if dtype not in CODES:
        raise ArtifactError(f"tensor {name}", f"dtype {array.dtype} is not among {_names(CODES)}")
    data = np.ascontiguousarray(array, dtype).tobytes()
    return onnx.TensorProto(name=name, dims=array.shape, data_type=CODES[dtype], raw_data=data)


def array(proto: onnx.TensorProto, field: str) -> Array:
    """The read-only values of a tensor that carries exactly the bytes its shape needs, inside the file."""
    _refuse_external(proto, field)
    if strange := {descriptor.name for descriptor, _ in proto.ListFields()} - TENSOR_FIELDS:
        raise ArtifactError(field, f"uses {min(strange)}; its values must be raw_data alone")
    dtype = DTYPES.get(proto.data_type)
    if dtype is None:
        raise ArtifactError(field, f"data type {proto.data_type} is not among {_names(CODES)}")
    # Sizes are Python integers, so that no product overflows; zeros do not excuse the other dimensions.
    if len(proto.dims) > MOST_DIMENSIONS or min(proto.dims, default=0) < 0:
        raise ArtifactError(field, f"{list(proto.dims)[:MOST_DIMENSIONS]} is not a shape")
    if math.prod(max(size, 1) for size in proto.dims) > MOST_VALUES:
        raise ArtifactError(field, f"shape {list(proto.dims)} is larger than any file")
    needed = math.prod(proto.dims) * dtype.itemsize
    if needed != len(proto.raw_data):
        raise ArtifactError(
            field,
            f"holds {len(proto.raw_data)} bytes, its shape {list(proto.dims)[:8]} of {dtype} needs {needed}",
        )
    return np.frombuffer(proto.raw_data, dtype).reshape(tuple(proto.dims))


def arrays(protos: Iterable[onnx.TensorProto], field: str) -> dict[str, Array]:
    """Tensors by name; `ArtifactError` when one is malformed, nameless or listed twice."""
    found: dict[str, Array] = {}
    for proto in protos:
        name = proto.name
        # Names that are not UTF-8 come out of protobuf as bytes.
        if not isinstance(name, str) or not name:
            raise ArtifactError(field, f"holds a tensor named {name!r}; each needs a name in UTF-8")
        if name in found:
            raise ArtifactError(f"{field} {name!a}", "is listed twice")
        found[name] = array(proto, f"{field} {name!a}")
    return found


def normalize(model: onnx.ModelProto) -> onnx.ModelProto:
    """A portable copy without training stacks, metadata and doc strings, whose initializers are all raw data.

    Exporters leave source paths of their machine in metadata and doc strings. Raises `ArtifactError` when the
    model is not plain.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.training_info[:]
    for message in (plain, plain.graph, *_described(plain.graph)):
        message.ClearField("doc_string")
        message.ClearField("metadata_props")
    for proto in plain.graph.initializer:
        _make_raw(proto, f"initializer {proto.name!a}")
    for index, node in enumerate(plain.graph.node):
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            if attribute.HasField("t"):
                _make_raw(attribute.t, f"node {index} {node.op_type!a}")
    check(plain)
    make_portable(plain)
    return plain


def check(model: onnx.ModelProto) -> None:
    """Raise `ArtifactError` unless the model is one plain graph; tensors in nodes are checked as well."""
    graph = model.graph
    if model.functions:
        raise ArtifactError("functions", "are not supported; export with functions inlined")
    if graph.sparse_initializer or graph.quantization_annotation:
        raise ArtifactError("graph", "sparse initializers and quantisation annotations are not supported")
    if strange := {opset.domain for opset in model.opset_import} - {*STANDARD_DOMAINS}:
        raise ArtifactError("opset_import", f"domain {min(map(ascii, strange))} is not standard ONNX")
    for index, node in enumerate(graph.node):
        field = f"node {index} {node.op_type!a}"
        if node.domain not in STANDARD_DOMAINS:
            raise ArtifactError(field, f"domain {node.domain!a} is not standard ONNX")
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise ArtifactError(field, "holds a sub-graph; export the network without control flow")
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise ArtifactError(field, "holds a sparse tensor; export it dense")
            if attribute.HasField("t"):
                array(attribute.t, field)
            for proto in attribute.tensors:
                array(proto, field)


def run_checker(data: bytes) -> None:
    """Raise `ArtifactError` unless onnx's own checker accepts the serialized model."""
    try:
        onnx.checker.check_model(data)
    except (onnx.checker.ValidationError, ValueError, TypeError, RuntimeError) as error:
        raise ArtifactError("graph", f"is not valid ONNX ({error}); export the artifact again") from error


def _make_raw(proto: onnx.TensorProto, field: str) -> None:
    """Keep of a tensor its name, type, shape and values, as raw data."""
    _refuse_external(proto, field)
    proto.CopyFrom(tensor(proto.name, onnx.numpy_helper.to_array(proto)))


def _refuse_external(proto: onnx.TensorProto, field: str) -> None:
    if proto.data_location != onnx.TensorProto.DEFAULT or proto.external_data:
        raise ArtifactError(field, "points to another file; an artifact holds all its tensors itself")


def _described(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto | onnx.ValueInfoProto]:
    yield from graph.node
    yield from graph.input
    yield from graph.output


def _names(codes: Iterable[np.dtype[np.generic]]) -> str:
    return ", ".join(dtype.name for dtype in codes)
