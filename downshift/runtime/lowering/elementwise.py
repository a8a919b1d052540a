"""Lowers elementwise, per-channel and fully connected operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from downshift.runtime.lowering.graph import (
    Activate,
    Activation,
    Add,
    ChannelAffine,
    GlobalAveragePool,
    Linear,
    Scale,
)
from downshift.runtime.lowering.layout import flattened
from downshift.runtime.lowering.scope import Variable, finite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from downshift.runtime.lowering.graph import FloatArray
    from downshift.runtime.lowering.read import Array
    from downshift.runtime.lowering.scope import Call, Scope

GATED: Mapping[Activation, Activation] = {
    Activation.SIGMOID: Activation.SILU,
    Activation.HARD_SIGMOID: Activation.HARD_SWISH,
}
"""Gated activations x * f(x), by f."""


def activation(kind: Activation) -> Callable[[Scope, Call], Variable]:
    """The handler of an activation operator without attributes."""
    return lambda scope, call: _activated(scope, call.variable(0), kind)


def clip(scope: Scope, call: Call) -> Variable:
    """Clip as ReLU or ReLU6."""
    limits = call.number(1, "min", -np.inf), call.number(2, "max", np.inf)
    kinds = {(0.0, 6.0): Activation.RELU6, (0.0, np.inf): Activation.RELU}
    if (kind := kinds.get(limits)) is None:
        raise call.node.error(f"limits {limits} are not those of ReLU or ReLU6")
    return _activated(scope, call.variable(0), kind)


def hard_sigmoid(scope: Scope, call: Call) -> Variable:
    """HardSigmoid as clip(x / 6 + 1/2, 0, 1); other slopes are not supported."""
    slope, offset = call.node.real("alpha", 0.2), call.node.real("beta", 0.5)
    if not np.allclose((slope, offset), (1 / 6, 0.5)):
        raise call.node.error(f"slope {slope} and offset {offset} are not 1/6 and 1/2")
    return _activated(scope, call.variable(0), Activation.HARD_SIGMOID)


def swish(scope: Scope, call: Call) -> Variable:
    """x * sigmoid(x)."""
    if (slope := call.node.real("alpha", 1.0)) != 1:
        raise call.node.error(f"slope {slope} is not 1")
    return _activated(scope, call.variable(0), Activation.SILU)


def batch_norm(scope: Scope, call: Call) -> Variable:
    """BatchNorm in inference mode as an affine map per channel, computed in double precision."""
    node = call.node
    if node.integer("training_mode", 0):
        raise node.error("it is in training mode")
    scale, bias, mean, variance = (call.weight(i).astype(np.float64) for i in range(1, 5))
    if not scale.shape == bias.shape == mean.shape == variance.shape:
        raise node.error(f"its parameters {scale.shape}, {bias.shape} ... differ in shape")
    deviation = variance + node.real("epsilon", 1e-5)
    if not (deviation > 0).all():
        raise node.error("a variance is not positive")
    factor = scale / np.sqrt(deviation)
    return _affine(scope, call, call.variable(0), factor, bias - mean * factor)


def add(scope: Scope, call: Call) -> Variable:
    """Addition of two tensors, or of a constant per channel."""
    left, right = call.values[:2] if len(call.values) == 2 else (None, None)  # noqa: PLR2004 - two operands
    if isinstance(left, Variable) and isinstance(right, Variable):
        return scope.emit(lambda output: Add(output, left.id, right.id))
    tensor, shift = _with_constant(scope, call)
    return _affine(scope, call, tensor, np.ones_like(shift), shift)


def subtract(scope: Scope, call: Call) -> Variable:
    """Subtraction of a constant per channel, or of a tensor from one."""
    tensor, shift = _with_constant(scope, call)
    if isinstance(call.values[0], Variable):
        return _affine(scope, call, tensor, np.ones_like(shift), -shift)
    return _affine(scope, call, tensor, -np.ones_like(shift), shift)


def multiply(scope: Scope, call: Call) -> Variable:
    """Multiplication: a gated activation, a squeeze-and-excitation factor, or a constant per channel."""
    left, right = call.values[:2] if len(call.values) == 2 else (None, None)  # noqa: PLR2004 - two operands
    if not (isinstance(left, Variable) and isinstance(right, Variable)):
        tensor, factor = _with_constant(scope, call)
        return _affine(scope, call, tensor, factor, np.zeros_like(factor))
    for value, gate in ((left, right), (right, left)):
        producer = scope.producer(gate)
        gated = isinstance(producer, Activate) and producer.input == value.id
        if gated and isinstance(producer, Activate) and producer.activation in GATED:
            return _activated(scope, value, GATED[producer.activation])
    for value, factor_ in ((left, right), (right, left)):
        shape = scope.shape(value)
        if len(shape) == 3 and scope.shape(factor_) == (shape[0], 1, 1):  # noqa: PLR2004 - (C, H, W)
            return scope.emit(lambda output, a=value, b=factor_: Scale(output, a.id, b.id))  # type: ignore[misc]
    raise call.node.error(f"{scope.shape(left)} times {scope.shape(right)} is not one factor per channel")


def divide(scope: Scope, call: Call) -> Variable:
    """Division by a constant per channel."""
    if not isinstance(call.values[0], Variable):
        raise call.node.error("divides a constant by a tensor")
    tensor, divisor = _with_constant(scope, call)
    if not divisor.all():
        raise call.node.error("divides by zero")
    return _affine(scope, call, tensor, 1 / divisor, np.zeros_like(divisor))


def same(_: Scope, call: Call) -> Variable:
    """Operators that are the identity in inference."""
    return call.variable(0)


def dropout(_: Scope, call: Call) -> Variable:
    """Dropout in inference mode: the identity."""
    if (training := call.constant(2)) is not None and np.any(training):
        raise call.node.error("it is in training mode")
    return call.variable(0)


def cast(_: Scope, call: Call) -> Variable:
    """Cast to float32: the identity."""
    if (kind := call.node.integer("to", 0)) != onnx.TensorProto.FLOAT:
        raise call.node.error(f"casts to type {kind} and not to float32")
    return call.variable(0)


def reduce_mean(scope: Scope, call: Call) -> Variable:
    """ReduceMean over height and width: global average pooling."""
    tensor = call.variable(0)
    rank = len(scope.full_shape(tensor))
    axes = {axis % rank for axis in call.numbers(1, "axes") or ()}
    if rank != 4 or axes != {2, 3}:  # noqa: PLR2004 - [N, C, H, W]
        raise call.node.error(f"axes {sorted(axes)} are not height and width")
    mean = scope.emit(lambda output: GlobalAveragePool(output, tensor.id))
    return mean if call.node.integer("keepdims", 1) else flattened(scope, mean)


def gemm(scope: Scope, call: Call) -> Variable:
    """A fully connected layer."""
    node, tensor, weight = call.node, call.variable(0), call.weight(1)
    if node.integer("transA", 0):
        raise node.error("its input is transposed")
    if (alpha := node.real("alpha", 1.0)) != 1:
        weight = finite(node, weight.astype(np.float64) * alpha)
    bias = np.zeros(1) if call.constant(2) is None else call.weight(2).astype(np.float64)
    matrix = weight if node.integer("transB", 0) else weight.T
    return _linear(scope, call, tensor, matrix, bias * node.real("beta", 1.0))


def matmul(scope: Scope, call: Call) -> Variable:
    """A fully connected layer without bias."""
    return _linear(scope, call, call.variable(0), call.weight(1).T, np.zeros(1))


def _linear(
    scope: Scope, call: Call, tensor: Variable, matrix: FloatArray, bias: NDArray[np.float64]
) -> Variable:
    if matrix.ndim != 2 or len(scope.shape(tensor)) != 1:  # noqa: PLR2004 - [O, I]
        raise call.node.error(f"weight {matrix.shape} on input {scope.shape(tensor)} is not a flat layer")
    weight = np.ascontiguousarray(matrix)
    shift = finite(call.node, _per_channel(call, bias, (matrix.shape[0],)))
    return scope.emit(lambda output: Linear(output, tensor.id, weight, shift, name=call.node.name))


def _activated(scope: Scope, tensor: Variable, kind: Activation) -> Variable:
    return scope.emit(lambda output: Activate(output, tensor.id, kind))


def _affine(
    scope: Scope, call: Call, tensor: Variable, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> Variable:
    """scale * x + shift; the pattern relu6(x + 3) / 6 becomes a hard sigmoid."""
    if np.allclose(scale, 1 / 6) and not shift.any():
        clipped = scope.producer(tensor)
        if isinstance(clipped, Activate) and clipped.activation is Activation.RELU6:
            moved = scope.producer(Variable(clipped.input))
            if isinstance(moved, ChannelAffine) and (moved.scale == 1).all() and (moved.shift == 3).all():  # noqa: PLR2004
                return _activated(scope, Variable(moved.input), Activation.HARD_SIGMOID)
    scale_, shift_ = finite(call.node, scale), finite(call.node, shift)
    return scope.emit(lambda output: ChannelAffine(output, tensor.id, scale_, shift_))


def _with_constant(scope: Scope, call: Call) -> tuple[Variable, NDArray[np.float64]]:
    """The variable operand, and the constant one as one number per channel."""
    tensors = [value for value in call.values if isinstance(value, Variable)]
    constants = [i for i, value in enumerate(call.values) if isinstance(value, np.ndarray)]
    if len(tensors) != 1 or len(constants) != 1 or len(call.values) != 2:  # noqa: PLR2004 - two operands
        raise call.node.error("its operands are not one tensor and one constant")
    values = call.weight(constants[0]).astype(np.float64)
    return tensors[0], _per_channel(call, values, scope.shape(tensors[0]))


def _per_channel(call: Call, values: Array, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """`values`, which broadcast against [N, *shape], as one number per channel."""
    sizes = (1,) * (len(shape) + 1 - values.ndim) + values.shape
    channel_only = len(sizes) == len(shape) + 1 and all(s == 1 for i, s in enumerate(sizes) if i != 1)
    if not channel_only or sizes[1] not in {1, shape[0]}:
        raise call.node.error(f"a constant of shape {values.shape} is not one number per channel")
    return np.ascontiguousarray(np.broadcast_to(values.reshape(-1), shape[0]), np.float64)
