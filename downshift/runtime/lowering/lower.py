"""Lowers an ONNX model to the graph the kernels execute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering import elementwise, layout, windows
from downshift.runtime.lowering.constants import FOLDS, fold_constant
from downshift.runtime.lowering.fuse import fused
from downshift.runtime.lowering.graph import Activation, Graph
from downshift.runtime.lowering.read import read_model
from downshift.runtime.lowering.scope import Call, Scope, Variable
from downshift.runtime.lowering.shapes import ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx

    from downshift.runtime.lowering.read import Array, Node

OPERATORS: Mapping[str, Callable[[Scope, Call], Variable]] = {
    "Add": elementwise.add,
    "AveragePool": windows.average_pool,
    "BatchNormalization": elementwise.batch_norm,
    "Cast": elementwise.cast,
    "Clip": elementwise.clip,
    "Concat": layout.concat,
    "Conv": windows.conv,
    "Div": elementwise.divide,
    "Dropout": elementwise.dropout,
    "Flatten": layout.flatten,
    "Gemm": elementwise.gemm,
    "GlobalAveragePool": windows.global_average_pool,
    "GlobalMaxPool": windows.global_max_pool,
    "HardSigmoid": elementwise.hard_sigmoid,
    "HardSwish": elementwise.activation(Activation.HARD_SWISH),
    "Identity": elementwise.same,
    "MatMul": elementwise.matmul,
    "MaxPool": windows.max_pool,
    "Mul": elementwise.multiply,
    "Pad": layout.pad,
    "ReduceMean": elementwise.reduce_mean,
    "Relu": elementwise.activation(Activation.RELU),
    "Reshape": layout.reshape,
    "Sigmoid": elementwise.activation(Activation.SIGMOID),
    "Slice": layout.slice_,
    "Squeeze": layout.squeeze,
    "Sub": elementwise.subtract,
    "Swish": elementwise.swish,
    "Unsqueeze": layout.unsqueeze,
}
"""Supported operators; a new one is one function and one line."""

SHAPE_ONLY: Mapping[str, int] = {"CastLike": 1, "Shape": 0}
"""Operators that read only shape and type of the input at that index, so they fold on a variable, too."""


def lower(model: onnx.ModelProto) -> Graph:
    """The graph equivalent to `model` in inference, with all constant folding and fusion applied.

    Raises `UnsupportedModel`, naming operator and node, for unsupported operators and malformed models.
    """
    source = read_model(model)
    scope = Scope(source.batch, [source.shape])
    values: dict[str, Variable | Array | None] = {**source.constants, source.input: Variable(0), "": None}
    names = [source.input]
    for node in source.nodes:
        result = _lower_node(scope, node, values)
        name = node.outputs[0] if node.outputs else ""
        if not name or name in values:
            raise node.error(f"its output {name!r} is unnamed or already taken")
        values[name] = result
        names += _names(name, len(scope.shapes) - len(names))
    output = values.get(source.output)
    if not isinstance(output, Variable):
        raise UnsupportedModel(f"output {source.output!r} is not computed from the input")
    return fused(Graph(tuple(scope.operations), tuple(scope.shapes), output.id, tuple(names)))


def _names(value: str, tensors: int) -> list[str]:
    """Names of the tensors one node was lowered to: the last is its output, the others intermediate."""
    return [f"{value}#{index}" for index in range(tensors - 1, 0, -1)] + [value] * (tensors > 0)


def _lower_node(scope: Scope, node: Node, values: Mapping[str, Variable | Array | None]) -> Variable | Array:
    missing = [name for name in node.inputs if name not in values]
    if missing:
        raise node.error(f"input {missing[0]!r} is computed nowhere before it")
    arguments = tuple(values[name] for name in node.inputs)
    if node.operator in SHAPE_ONLY:
        at = SHAPE_ONLY[node.operator]
        arguments = tuple(
            np.broadcast_to(np.float32(0), scope.full_shape(value))
            if i == at and isinstance(value, Variable)
            else value
            for i, value in enumerate(arguments)
        )
    if not any(isinstance(value, Variable) for value in arguments) and node.operator in FOLDS:
        present = tuple(value for value in arguments if not isinstance(value, Variable | None))
        return fold_constant(node, present)
    handler = OPERATORS.get(node.operator)
    if handler is None:
        raise node.error("the operator is not known")
    try:
        return handler(scope, Call(node, arguments))
    except ShapeError as error:
        raise node.error(str(error)) from error
