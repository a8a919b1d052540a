"""The arithmetic of the int8 kernels in numpy: the oracle that every instruction set equals bit by bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

import numpy as np

from downshift.runtime.lowering.integer_graph import (
    Dequantize,
    FloatActivate,
    FloatLinear,
    IntegerAdd,
    IntegerAffine,
    IntegerAveragePool,
    IntegerConcat,
    IntegerConv,
    IntegerMaxPool,
    IntegerMean,
    IntegerScale,
    IntegerTable,
    IntegerTake,
    Mean,
)
from downshift.runtime.lowering.reference import activate, padded, taps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from downshift.runtime.lowering.graph import FloatArray
    from downshift.runtime.lowering.integer_graph import IntegerGraph, IntegerOperation

    Bytes = NDArray[np.uint8]


def run(graph: IntegerGraph, images: FloatArray) -> NDArray[np.float32]:
    """What the int8 kernels answer for `images` [N, C, H, W]: float32 [N, classes], maps bit by bit."""
    return np.asarray(run_all(graph, images)[-1], np.float32)


def run_all(graph: IntegerGraph, images: FloatArray) -> list[NDArray[Any]]:
    """The value of every tensor: uint8 maps [N, C, H, W], float vectors [N, C]."""
    inverse = np.float32(1) / np.float32(graph.input.scale)
    tensors: list[NDArray[Any]] = [_saturated(_fma(images, inverse, np.float32(graph.input.zero)))]
    for operation in graph.operations:
        tensors.append(execute(operation, tensors, graph.zeros))
    return tensors


def execute(  # noqa: PLR0911 - one case each
    operation: IntegerOperation, tensors: Sequence[NDArray[Any]], zeros: Sequence[int]
) -> NDArray[Any]:
    """What one operation writes, given every tensor written before and their zero points."""
    match operation:
        case IntegerConv():
            return _convolution(operation, tensors, zeros[operation.input])
        case IntegerMaxPool():
            maps = padded(tensors[operation.input], operation.padding, 0)
            return np.asarray(np.max(list(taps(maps, operation.kernel, operation.stride)), axis=0))
        case IntegerAveragePool():
            return _average(operation, tensors[operation.input], zeros[operation.input])
        case IntegerMean():
            sums = tensors[operation.input].astype(np.int64).sum(axis=(2, 3), keepdims=True)
            return _saturated(
                _fma(sums.astype(np.float32), np.float32(operation.scale), np.float32(operation.bias))
            )
        case IntegerAdd(left=left, right=right):
            value = _fma(tensors[left], np.float32(operation.left_scale), np.float32(operation.bias))
            return _saturated(_fma(tensors[right], np.float32(operation.right_scale), value))
        case IntegerAffine():
            scale, bias = operation.scale.reshape(-1, 1, 1), operation.bias.reshape(-1, 1, 1)
            return _saturated(_fma(tensors[operation.input], scale, bias))
        case IntegerScale(factor=factor):
            difference = tensors[factor].astype(np.float32) - np.float32(zeros[factor])
            scale = difference * np.float32(operation.scale)
            bias = _fma(np.float32(-zeros[operation.input]), scale, np.float32(operation.zero))
            return _saturated(_fma(tensors[operation.input], scale, bias))
        case IntegerTable():
            return np.asarray(operation.table[tensors[operation.input]])
        case IntegerTake():
            return _taken(operation, tensors[operation.input], zeros[operation.input])
        case IntegerConcat():
            parts = zip(operation.tables, operation.inputs, strict=True)
            return np.concatenate([table[tensors[one]] for table, one in parts], axis=1)
        case _:
            return _vector(operation, tensors[operation.input], zeros[operation.input])


def _vector(
    operation: Mean | Dequantize | FloatLinear | FloatActivate, source: NDArray[Any], zero: int
) -> NDArray[Any]:
    match operation:
        case Mean():
            sums = source.astype(np.int64).sum(axis=(2, 3)) - zero * source.shape[2] * source.shape[3]
            return np.asarray(sums.astype(np.float32) * np.float32(operation.scale))
        case Dequantize():
            values = (source.astype(np.int64) - zero).astype(np.float32) * np.float32(operation.scale)
            return np.asarray(values.reshape(len(source), -1))
        case FloatLinear():
            values = source.astype(np.float64) @ operation.weight.T.astype(np.float64) + operation.bias
            return np.maximum(values, 0) if operation.relu else values
        case FloatActivate():
            return activate(source.astype(np.float64), operation.activation)
        case _:
            assert_never(operation)


def _convolution(conv: IntegerConv, tensors: Sequence[NDArray[Any]], zero: int) -> Bytes:
    outputs, inputs, *kernel = conv.weight.shape
    weight = conv.weight.astype(np.float64).reshape(conv.groups, outputs // conv.groups, inputs, -1)
    maps = padded(tensors[conv.input], conv.padding, zero)
    total: NDArray[Any] = np.zeros(1)
    for position, tap in enumerate(taps(maps, (kernel[0], kernel[1]), conv.stride)):
        batch, _, height, width = tap.shape
        pixels = tap.astype(np.float64).reshape(batch, conv.groups, inputs, height * width)
        # float64 holds these integers exactly
        total = total + (weight[..., position] @ pixels).reshape(batch, outputs, height, width)
    value = _fma(total.astype(np.float32), conv.scale.reshape(-1, 1, 1), conv.bias.reshape(-1, 1, 1))
    if conv.residual is not None:
        value = _fma(tensors[conv.residual], np.float32(conv.residual_scale), value)
    return _saturated(value)


def _average(pool: IntegerAveragePool, source: Bytes, zero: int) -> Bytes:
    def windows(values: NDArray[Any], fill: int) -> NDArray[Any]:
        maps = padded(values.astype(np.int64), pool.padding, fill)
        return np.asarray(np.sum(list(taps(maps, pool.kernel, pool.stride)), axis=0))

    sums = windows(source, zero if pool.count_padding else 0)
    pixels = windows(np.ones((1, 1, *source.shape[2:])), int(pool.count_padding))
    return _saturated(sums.astype(np.float32) * (np.float32(1) / pixels.astype(np.float32)))


def _taken(take: IntegerTake, source: Bytes, zero: int) -> Bytes:
    result: Bytes = source
    for axis in range(3):
        at = take.start[axis] + take.step[axis] * np.arange(take.size[axis])
        inside = (at >= 0) & (at < result.shape[axis + 1])
        taken = np.take(result, np.where(inside, at, 0), axis=axis + 1)
        shape = [1, 1, 1, 1]
        shape[axis + 1] = -1
        result = np.where(inside.reshape(shape), taken, np.uint8(zero))
    return result


def _fma(a: NDArray[Any] | np.float32, b: NDArray[Any] | np.float32, c: Any) -> NDArray[np.float32]:
    """a * b + c in float32, rounded once: float64 holds the product of two float32 exactly."""
    return np.asarray(np.float64(a) * np.float64(b) + np.float64(c)).astype(np.float32)


def _saturated(values: NDArray[np.float32]) -> Bytes:
    return np.maximum(np.fmin(np.rint(values), 255), 0).astype(np.uint8)  # NaN, as in an image, becomes 255
