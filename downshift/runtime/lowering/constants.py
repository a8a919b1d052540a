"""Constant folding: evaluates with numpy the shape arithmetic that exporters leave in a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from onnx import helper

from downshift.runtime.lowering.read import BROKEN, Array, Node

LARGEST_CONSTANT = 1 << 27
"""Maximum number of elements of a folded constant; broadcast views need no memory and are not counted."""

Fold = Callable[[Node, Sequence[Array]], Array]


def fold_constant(node: Node, values: Sequence[Array]) -> Array:
    """The value of `node` on constant inputs; raises `UnsupportedModel` naming an unsupported operator."""
    fold = FOLDS.get(node.operator)
    if fold is None:
        raise node.error("the operator is not known for constants")
    try:
        with np.errstate(all="ignore"):
            return np.asarray(fold(node, values))
    except (*BROKEN, IndexError, ZeroDivisionError) as error:
        raise node.error(f"its constants do not fit ({error})") from error


def numbers(node: Node, values: Sequence[Array], index: int, attribute: str) -> tuple[int, ...] | None:
    """A list of integers: an attribute in older opsets, constant input `index` in newer ones."""
    if index < len(values) and values[index].size:
        if values[index].dtype.kind not in "iu":
            raise node.error(f"input {index} is not a list of integers")
        return tuple(int(one) for one in values[index].reshape(-1))
    return node.integers(attribute)


def _constant(node: Node, _: Sequence[Array]) -> Array:
    if node.attributes.keys() == {"value"} and isinstance(node.attributes["value"], np.ndarray):
        return node.attributes["value"]
    for name, kind in (("value_float", np.float32), ("value_int", np.int64)):
        if node.attributes.keys() == {name}:
            return np.asarray(node.real(name, 0), kind)
    for name, kind in (("value_floats", np.float32), ("value_ints", np.int64)):
        if node.attributes.keys() == {name}:
            return np.asarray(node.attributes[name], kind)
    raise node.error(f"value {sorted(node.attributes)} is not one tensor or number")


def _cast(node: Node, values: Sequence[Array]) -> Array:
    return values[0].astype(helper.tensor_dtype_to_np_dtype(node.integer("to", 1)))


def _squeeze(node: Node, values: Sequence[Array]) -> Array:
    return np.squeeze(values[0], numbers(node, values, 1, "axes"))


def _unsqueeze(node: Node, values: Sequence[Array]) -> Array:
    return np.expand_dims(values[0], numbers(node, values, 1, "axes") or ())


def _shape(node: Node, values: Sequence[Array]) -> Array:
    shape = np.asarray(values[0].shape, np.int64)
    return shape[node.integer("start", 0) : node.integer("end", shape.size)]


def _reshape(node: Node, values: Sequence[Array]) -> Array:
    target = numbers(node, values, 1, "shape") or ()
    return values[0].reshape([values[0].shape[i] if size == 0 else size for i, size in enumerate(target)])


def _slice(node: Node, values: Sequence[Array]) -> Array:
    starts, ends = numbers(node, values, 1, "starts") or (), numbers(node, values, 2, "ends") or ()
    axes = numbers(node, values, 3, "axes") or tuple(range(len(starts)))
    steps = numbers(node, values, 4, "steps") or (1,) * len(starts)
    index = [slice(None)] * values[0].ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice(start, end, step)
    return values[0][tuple(index)]


def _constant_of_shape(node: Node, values: Sequence[Array]) -> Array:
    value = node.attributes.get("value", np.zeros(1, np.float32))
    return np.broadcast_to(np.asarray(value).reshape(()), values[0].tolist())


def _expand(_: Node, values: Sequence[Array]) -> Array:
    shape = np.broadcast_shapes(values[0].shape, tuple(values[1].tolist()))
    return np.broadcast_to(values[0], shape)


def _transpose(node: Node, values: Sequence[Array]) -> Array:
    return values[0].transpose(node.integers("perm"))


def _gather(node: Node, values: Sequence[Array]) -> Array:
    return np.take(values[0], values[1], axis=node.integer("axis", 0))


def _concat(node: Node, values: Sequence[Array]) -> Array:
    return np.concatenate(
        _within_limit(node, values, sum(one.size for one in values)), node.integer("axis", 0)
    )


def _divide(node: Node, values: Sequence[Array]) -> Array:
    left, right = _operands(node, values)
    if left.dtype.kind in "iu":
        return np.fix(left / right).astype(left.dtype)
    return np.divide(left, right)


def _elementwise(function: np.ufunc) -> Fold:
    def fold(node: Node, values: Sequence[Array]) -> Array:
        result: Array = function(*_operands(node, values))
        return result

    return fold


def _operands(node: Node, values: Sequence[Array]) -> Sequence[Array]:
    shape = np.broadcast_shapes(*(one.shape for one in values))
    return _within_limit(node, values, int(np.prod(shape, dtype=np.float64)))


def _within_limit(node: Node, values: Sequence[Array], size: int) -> Sequence[Array]:
    if size > LARGEST_CONSTANT:
        raise node.error(f"a constant of {size} elements is too large")
    return values


FOLDS: Mapping[str, Fold] = {
    "Add": _elementwise(np.add),
    "Cast": _cast,
    "CastLike": lambda _, values: values[0].astype(values[1].dtype),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": _divide,
    "Expand": _expand,
    "Gather": _gather,
    "Identity": lambda _, values: values[0],
    "Mul": _elementwise(np.multiply),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Sqrt": _elementwise(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _elementwise(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operators that are folded when all inputs are constant."""
