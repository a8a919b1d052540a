"""Parses an ONNX model into plain nodes and constants; the only module of lowering that reads protobuf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from downshift.runtime.errors import UnsupportedModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from downshift.runtime.lowering.graph import Shape

Array = NDArray[Any]

OLDEST_OPSET = 7
"""The first opset with numpy-style broadcasting."""
ANY_BATCH = 8191
"""Placeholder for a dynamic batch size: a prime that no other dimension is likely to have."""
BROKEN = (ValueError, TypeError, KeyError, NotImplementedError, AttributeError, OverflowError, MemoryError)
"""Exceptions that onnx raises on inconsistent attributes and tensors."""


@dataclass(frozen=True, eq=False)
class Node:
    """One ONNX node; an absent optional input is an empty name."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def error(self, problem: str) -> UnsupportedModel:
        """The error that names this node."""
        return UnsupportedModel(f"operator {self.operator} (node {self.name!r}): {problem}")

    def integer(self, name: str, default: int) -> int:
        """An attribute that must be one integer."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.error(f"attribute {name} {value!r} is not an integer")
        return value

    def real(self, name: str, default: float) -> float:
        """An attribute that must be one number, finite or not."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise self.error(f"attribute {name} {value!r} is not a number")
        return float(value)

    def text(self, name: str, default: str) -> str:
        """An attribute that must be text."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise self.error(f"attribute {name} {value!r} is not text")
        return value

    def integers(self, name: str) -> tuple[int, ...] | None:
        """An attribute that must be a list of integers; None when it is absent."""
        value = self.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, tuple) or not all(isinstance(one, int) for one in value):
            raise self.error(f"attribute {name} {value!r} is not a list of integers")
        return value


@dataclass(frozen=True, eq=False)
class ParsedModel:
    """A parsed model: one image input, one output, nodes in topological order, constants by name."""

    input: str
    shape: Shape
    batch: int
    output: str
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]


def read_model(proto: onnx.ModelProto) -> ParsedModel:
    """The parsed model; raises `UnsupportedModel` if it is malformed or not an image classifier."""
    opsets = [one.version for one in proto.opset_import if one.domain in {"", "ai.onnx"}]
    if len(opsets) != 1 or opsets[0] < OLDEST_OPSET:
        raise UnsupportedModel(f"opset {opsets} is not one of at least {OLDEST_OPSET}")
    if proto.functions:
        raise UnsupportedModel(f"function {proto.functions[0].name!r} is not inlined")
    graph = proto.graph
    if graph.sparse_initializer:
        raise UnsupportedModel("sparse initializers are not read")
    constants = {one.name: read_tensor(one) for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise UnsupportedModel(f"{len(inputs)} inputs and {len(graph.output)} outputs instead of one each")
    batch, shape = _image(inputs[0])
    nodes = tuple(_node(node, index) for index, node in enumerate(graph.node))
    return ParsedModel(inputs[0].name, shape, batch, graph.output[0].name, nodes, constants)


def read_tensor(proto: onnx.TensorProto) -> Array:
    """The array of `proto`; raises `UnsupportedModel` for external or inconsistent data."""
    if proto.data_location == onnx.TensorProto.EXTERNAL or proto.external_data:
        raise UnsupportedModel(f"tensor {proto.name!r} lies in another file")
    try:
        return np.asarray(numpy_helper.to_array(proto))
    except BROKEN as error:
        raise UnsupportedModel(f"tensor {proto.name!r} is malformed ({error})") from error


def _image(value: onnx.ValueInfoProto) -> tuple[int, Shape]:
    tensor = value.type.tensor_type
    dims = [one.dim_value if one.HasField("dim_value") else 0 for one in tensor.shape.dim]
    if len(dims) != 4 or min(dims[1:]) < 1 or dims[0] < 0:  # noqa: PLR2004 - [N, C, H, W]
        raise UnsupportedModel(f"input {value.name!r} of shape {dims} is not [N, C, H, W] with fixed C, H, W")
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        raise UnsupportedModel(f"input {value.name!r} is not float32")
    return dims[0] or ANY_BATCH, tuple(dims[1:])


def _node(proto: onnx.NodeProto, index: int) -> Node:
    operator = proto.op_type if proto.domain in {"", "ai.onnx"} else f"{proto.domain}.{proto.op_type}"
    name = proto.name or f"#{index}"
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        try:
            value = helper.get_attribute_value(attribute)
        except BROKEN as error:
            raise UnsupportedModel(
                f"operator {operator} (node {name!r}): attribute {attribute.name} is malformed ({error})"
            ) from error
        if isinstance(value, onnx.TensorProto):
            value = read_tensor(value)
        elif isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif not isinstance(value, int | float):
            value = tuple(value) if hasattr(value, "__iter__") else None
        attributes[attribute.name] = value
    return Node(operator, name, tuple(proto.input), tuple(proto.output), attributes)
