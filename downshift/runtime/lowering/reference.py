"""Reference implementation in numpy, in double precision: the test oracle of every kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

import numpy as np
from numpy.typing import NDArray

from downshift.runtime.lowering.graph import (
    Activate,
    Activation,
    Add,
    AveragePool,
    ChannelAffine,
    Concat,
    Conv,
    Flatten,
    GlobalAveragePool,
    Linear,
    MaxPool,
    Pad,
    Scale,
    Slice,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from downshift.runtime.lowering.graph import (
        FloatArray,
        Graph,
        Operation,
        Padding,
        Shape,
        Stride,
        TensorId,
    )

DoubleArray = NDArray[np.float64]
"""[N, *shape] of one tensor."""
AnyArray = NDArray[Any]


def run(graph: Graph, images: FloatArray) -> DoubleArray:
    """The output of the graph for `images` [N, C, H, W]: float64 [N, *output shape]."""
    return run_all(graph, images)[graph.output]


def run_all(graph: Graph, images: FloatArray) -> dict[TensorId, DoubleArray]:
    """The value of every tensor, by number."""
    tensors: dict[TensorId, DoubleArray] = {0: images.astype(np.float64)}
    for operation in graph.operations:
        tensors[operation.output] = execute(operation, tensors, graph.shapes[operation.output])
    return tensors


def execute(operation: Operation, tensors: Mapping[TensorId, DoubleArray], shape: Shape) -> DoubleArray:  # noqa: PLR0911, PLR0912 - one case each
    """The output of one operation, given its operands and its per-example output shape."""
    match operation:
        case Conv():
            total = _convolution(operation, tensors[operation.input], shape)
            total += operation.bias.reshape(-1, 1, 1)
            if operation.residual is not None:
                total += tensors[operation.residual]
            return activate(total, operation.activation)
        case Linear():
            total = tensors[operation.input] @ operation.weight.T.astype(np.float64) + operation.bias
            return activate(total, operation.activation)
        case MaxPool():
            maps = padded(tensors[operation.input], operation.padding, -np.inf)
            return np.asarray(
                np.max(list(taps(maps, operation.kernel, operation.stride)), axis=0), np.float64
            )
        case AveragePool():
            return _average(operation, tensors[operation.input])
        case GlobalAveragePool():
            return np.asarray(tensors[operation.input].mean(axis=(2, 3), keepdims=True))
        case Add():
            return activate(tensors[operation.left] + tensors[operation.right], operation.activation)
        case Scale():
            return tensors[operation.input] * tensors[operation.factor]
        case Activate():
            return activate(tensors[operation.input], operation.activation)
        case ChannelAffine():
            values = tensors[operation.input]
            per_channel = (-1, *(1,) * (values.ndim - 2))
            total = values * operation.scale.reshape(per_channel) + operation.shift.reshape(per_channel)
            return activate(total, operation.activation)
        case Pad():
            return np.pad(
                tensors[operation.input], [(0, 0), *zip(operation.before, operation.after, strict=True)]
            )
        case Slice():
            axes = zip(operation.start, operation.step, operation.size, strict=True)
            index = [slice(start, start + (size - 1) * step + 1, step) for start, step, size in axes]
            return tensors[operation.input][:, *index]
        case Concat():
            return np.concatenate([tensors[one] for one in operation.inputs], axis=1)
        case Flatten():
            return tensors[operation.input].reshape(-1, *shape)
        case _:
            assert_never(operation)


def activate(values: DoubleArray, kind: Activation) -> DoubleArray:  # noqa: PLR0911 - one case each
    """`values` after an activation."""
    match kind:
        case Activation.NONE:
            return values
        case Activation.RELU:
            return np.maximum(values, 0)
        case Activation.RELU6:
            return np.clip(values, 0, 6)
        case Activation.SIGMOID:
            return _sigmoid(values)
        case Activation.SILU:
            return values * _sigmoid(values)
        case Activation.HARD_SIGMOID:
            return np.clip(values / 6 + 0.5, 0, 1)
        case Activation.HARD_SWISH:
            return values * np.clip(values / 6 + 0.5, 0, 1)
        case _:
            assert_never(kind)


def _sigmoid(values: DoubleArray) -> DoubleArray:
    return 0.5 * (1 + np.tanh(values / 2))


def _convolution(conv: Conv, values: DoubleArray, shape: Shape) -> DoubleArray:
    """Convolution as a sum of matrix products, one per kernel position and group."""
    batch, groups = len(values), conv.groups
    outputs, inputs, *kernel = conv.weight.shape
    weight = conv.weight.astype(np.float64).reshape(groups, outputs // groups, inputs, -1)
    maps = padded(values, conv.padding, 0)
    total = np.zeros((batch, groups, outputs // groups, shape[1] * shape[2]))
    for position, tap in enumerate(taps(maps, (kernel[0], kernel[1]), conv.stride)):
        total += weight[..., position] @ tap.reshape(batch, groups, inputs, -1)
    return total.reshape(batch, *shape)


def _average(pool: AveragePool, values: DoubleArray) -> DoubleArray:
    total = sum(taps(padded(values, pool.padding, 0), pool.kernel, pool.stride))
    inside = padded(np.ones((1, 1, *values.shape[2:])), pool.padding, float(pool.count_padding))
    return np.asarray(total / sum(taps(inside, pool.kernel, pool.stride)))


def padded(values: AnyArray, padding: Padding, fill: float) -> AnyArray:
    """Maps [N, C, H, W] with `fill` around them."""
    width = ((0, 0), (0, 0), (padding.top, padding.bottom), (padding.left, padding.right))
    return np.pad(values, width, constant_values=fill)


def taps(maps: AnyArray, kernel: tuple[int, int], stride: Stride) -> Iterator[AnyArray]:
    """For every kernel position in row-major order, the pixels of padded `maps` it reads: [N, C, H', W']."""
    rows = (maps.shape[2] - kernel[0]) // stride.height * stride.height + 1
    columns = (maps.shape[3] - kernel[1]) // stride.width * stride.width + 1
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            yield maps[:, :, y : y + rows : stride.height, x : x + columns : stride.width]
