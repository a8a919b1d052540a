"""State of lowering: the graph emitted so far, and the operands of the node being lowered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.lowering.constants import numbers
from downshift.runtime.lowering.shapes import output_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from downshift.runtime.lowering.graph import FloatArray, Operation, Shape, TensorId
    from downshift.runtime.lowering.read import Array, Node


@dataclass(frozen=True)
class Variable:
    """A value computed at run time, in contrast to a constant; `id` is its tensor in the graph."""

    id: TensorId


@dataclass
class Scope:
    """Builder of one graph; `batch` is the placeholder of the batch dimension in shape arithmetic."""

    batch: int
    shapes: list[Shape]
    operations: list[Operation] = field(default_factory=list)

    def emit(self, make: Callable[[TensorId], Operation]) -> Variable:
        """Append the operation that writes the next tensor; raises `ShapeError` for unfit operands."""
        operation = make(len(self.shapes))
        self.shapes.append(output_shape(operation, self.shapes))
        self.operations.append(operation)
        return Variable(operation.output)

    def shape(self, tensor: Variable) -> Shape:
        """Per-example shape of a tensor."""
        return self.shapes[tensor.id]

    def full_shape(self, tensor: Variable) -> tuple[int, ...]:
        """Shape of a tensor with the batch dimension, as in ONNX."""
        return (self.batch, *self.shape(tensor))

    def producer(self, tensor: Variable) -> Operation | None:
        """The operation that writes a tensor; None for the input."""
        return self.operations[tensor.id - 1] if tensor.id else None


@dataclass(frozen=True, eq=False)
class Call:
    """One node with its operands resolved: a `Variable`, a constant array, or None where absent."""

    node: Node
    values: tuple[Variable | Array | None, ...]

    def variable(self, index: int) -> Variable:
        """Input `index`, which must be computed at run time."""
        value = self.values[index] if index < len(self.values) else None
        if not isinstance(value, Variable):
            raise self.node.error(f"input {index} is not a tensor computed from the image")
        return value

    def constant(self, index: int) -> Array | None:
        """Input `index`, which must be constant; None when it is absent."""
        value = self.values[index] if index < len(self.values) else None
        if isinstance(value, Variable):
            raise self.node.error(f"input {index} is computed at run time and must be constant")
        return value

    def weight(self, index: int) -> FloatArray:
        """Input `index`, which must be a constant, finite float32 array."""
        value = self.constant(index)
        if value is None or value.dtype != np.float32:
            raise self.node.error(f"input {index} is not a constant float32 tensor")
        if not np.isfinite(value).all():
            raise self.node.error(f"input {index} holds values that are not finite")
        return value

    def numbers(self, index: int, attribute: str) -> tuple[int, ...] | None:
        """Integers from constant input `index` or, in older opsets, from an attribute; None when absent."""
        value = self.constant(index)
        return numbers(self.node, () if value is None else (value,), 0, attribute)

    def number(self, index: int, attribute: str, default: float) -> float:
        """One number from constant input `index` or, in older opsets, from an attribute."""
        value = self.constant(index)
        if value is None:
            return self.node.real(attribute, default)
        if value.size != 1 or value.dtype.kind not in "fiu":
            raise self.node.error(f"input {index} is not one number")
        return float(value.reshape(()))


def finite(node: Node, values: NDArray[np.float64]) -> FloatArray:
    """`values` rounded to float32; raises `UnsupportedModel` if any is not finite afterwards."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    if not np.isfinite(rounded).all():
        raise node.error("its constants are not finite")
    return rounded
