"""The quantised graph in the arithmetic of the int8 kernels, and that arithmetic in numpy as their oracle.

A convolution's result is saturate_u8(round_half_even(fma(sum, scale, bias))) with exact integer sums. A
residual adds fma(residual, residual_scale, .) before the rounding. ReLU is the saturation at zero point 0.
Zero points are folded into the biases. What follows the last map is float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np

from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering.graph import (
    Activation,
    Conv,
    Flatten,
    GlobalAveragePool,
    Linear,
    MaxPool,
)
from downshift.runtime.lowering.quantize import affine_of, quantized_weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from downshift.runtime.lowering.graph import FloatArray, Graph, Operation, Padding, Stride, TensorId
    from downshift.runtime.lowering.quantize import Affine, Ranges

SATURATING = {Activation.NONE, Activation.RELU, Activation.RELU6}
"""Activations that a result's range, and so the saturation to it, already is."""


@dataclass(frozen=True, eq=False, kw_only=True)
class IntegerConv:
    """weight: int8 [O, I, kH, kW]; scale, bias: float32 [O], bias with all zero points folded in."""

    output: int
    input: int
    weight: NDArray[np.int8]
    scale: FloatArray
    bias: FloatArray
    stride: Stride
    padding: Padding
    zero: int
    residual: int | None
    residual_scale: float


@dataclass(frozen=True, kw_only=True)
class IntegerMaxPool:
    """Largest byte of every window; the halo never wins."""

    output: int
    input: int
    kernel: tuple[int, int]
    stride: Stride
    padding: Padding


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Mean of every channel as float32: (sum - pixels * zero) * scale."""

    output: int
    input: int
    scale: float


@dataclass(frozen=True, kw_only=True)
class Dequantize:
    """All values as float32, channel by channel: (value - zero) * scale."""

    output: int
    input: int
    scale: float


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatLinear:
    """weight: float32 [O, C]; bias: float32 [O]."""

    output: int
    input: int
    weight: FloatArray
    bias: FloatArray
    relu: bool


IntegerOperation = IntegerConv | IntegerMaxPool | Mean | Dequantize | FloatLinear


@dataclass(frozen=True)
class IntegerGraph:
    """Operations on tensors numbered in the order in which they are written; tensor 0 is the input.

    zeros: the zero point of every tensor; 0 for vectors of floats.
    """

    input_shape: tuple[int, ...]
    input: Affine
    operations: tuple[IntegerOperation, ...]
    zeros: tuple[int, ...]


def integer(graph: Graph, ranges: Ranges) -> IntegerGraph:
    """`graph` in int8 with activation ranges by tensor name.

    Raises `UnsupportedModel` naming the operation that the kernels do not know, or the missing range.
    """
    builder = _Builder(graph, ranges)
    for operation in graph.operations:
        builder.add(operation)
    return IntegerGraph(graph.shapes[0], builder.affine[0], tuple(builder.operations), tuple(builder.zeros))


class _Builder:
    def __init__(self, graph: Graph, ranges: Ranges) -> None:
        if not graph.names:
            raise UnsupportedModel("a graph without value names cannot be quantised: lower it from ONNX")
        self._graph, self._ranges = graph, ranges
        self.operations: list[IntegerOperation] = []
        self.affine: dict[TensorId, Affine] = {0: self._measured(0)}
        self._number: dict[TensorId, int] = {0: 0}
        self.zeros = [self.affine[0].zero]

    def add(self, operation: Operation) -> None:
        match operation:
            case Conv(groups=1) if operation.activation in SATURATING:
                self._conv(operation)
            case MaxPool(output, source, kernel, stride, padding):
                affine = self._quantised(operation, source)
                number = self._next(output, affine)
                self.operations.append(
                    IntegerMaxPool(
                        output=number,
                        input=self._number[source],
                        kernel=kernel,
                        stride=stride,
                        padding=padding,
                    )
                )
            case GlobalAveragePool(output, source):
                affine = self._quantised(operation, source)
                pixels = self._graph.shapes[source][1] * self._graph.shapes[source][2]
                scale = float(np.float32(affine.scale / pixels))
                self.operations.append(
                    Mean(output=self._next(output), input=self._number[source], scale=scale)
                )
            case Flatten(output, source) if source in self.affine:
                scale = self.affine[source].scale
                self.operations.append(
                    Dequantize(output=self._next(output), input=self._number[source], scale=scale)
                )
            case Flatten(output, source):
                self._number[output] = self._number[source]
            case Linear() if operation.activation in {Activation.NONE, Activation.RELU} and (
                operation.input not in self.affine
            ):
                self.operations.append(
                    FloatLinear(
                        output=self._next(operation.output),
                        input=self._number[operation.input],
                        weight=operation.weight,
                        bias=operation.bias,
                        relu=operation.activation is Activation.RELU,
                    )
                )
            case _:
                raise self._unknown(operation)

    def _conv(self, conv: Conv) -> None:
        source = self._quantised(conv, conv.input)
        target = self._measured(conv.output)
        weight = quantized_weight(conv.weight)
        scale = (weight.scale.astype(np.float64) * source.scale / target.scale).astype(np.float32)
        sums = weight.values.reshape(len(scale), -1).astype(np.int64).sum(axis=1)
        bias = conv.bias / target.scale + target.zero - sums * source.zero * scale.astype(np.float64)
        residual, residual_scale = None, np.float32(0)
        if conv.residual is not None:
            other = self._quantised(conv, conv.residual)
            residual, residual_scale = self._number[conv.residual], np.float32(other.scale / target.scale)
            bias = bias - float(residual_scale) * other.zero
        self.operations.append(
            IntegerConv(
                input=self._number[conv.input],
                output=self._next(conv.output, target),
                weight=weight.values,
                scale=scale,
                bias=bias.astype(np.float32),
                stride=conv.stride,
                padding=conv.padding,
                zero=target.zero,
                residual=residual,
                residual_scale=float(residual_scale),
            )
        )

    def _next(self, tensor: TensorId, affine: Affine | None = None) -> int:
        self._number[tensor] = len(self.zeros)
        self.zeros.append(affine.zero if affine else 0)
        if affine:
            self.affine[tensor] = affine
        return self._number[tensor]

    def _measured(self, tensor: TensorId) -> Affine:
        name = self._graph.names[tensor]
        if name not in self._ranges:
            raise UnsupportedModel(f"no activation range for tensor {name!r}: run `downshift quantize` again")
        return affine_of(*self._ranges[name])

    def _quantised(self, operation: Operation, tensor: TensorId) -> Affine:
        if tensor not in self.affine:
            raise self._unknown(operation)
        return self.affine[tensor]

    def _unknown(self, operation: Operation) -> UnsupportedModel:
        name = self._graph.names[operation.output]
        what = type(operation).__name__
        return UnsupportedModel(f"the int8 kernels do not know this {what} (tensor {name!r})")


def run(graph: IntegerGraph, images: FloatArray) -> NDArray[np.float32]:
    """What the int8 kernels answer for `images` [N, C, H, W]: float32 [N, classes], maps bit by bit."""
    return np.asarray(run_all(graph, images)[-1], np.float32)


def run_all(graph: IntegerGraph, images: FloatArray) -> list[NDArray[Any]]:
    """The value of every tensor: uint8 maps [N, C, H, W], float32 vectors [N, C]."""
    inverse = np.float32(1) / np.float32(graph.input.scale)
    tensors: list[NDArray[Any]] = [_saturated(_fma(images, inverse, np.float32(graph.input.zero)))]
    for operation in graph.operations:
        tensors.append(_execute(operation, graph, tensors))
    return tensors


def _execute(operation: IntegerOperation, graph: IntegerGraph, tensors: list[NDArray[Any]]) -> NDArray[Any]:
    source, zero = tensors[operation.input], graph.zeros[operation.input]
    match operation:
        case IntegerConv():
            padded = _padded(source, operation.padding, zero)
            height, width = operation.weight.shape[2:]
            total: NDArray[Any] = np.zeros(1, np.int64)
            for (row, column), tap in _taps(padded, (height, width), operation.stride):
                weight = operation.weight[:, :, row, column].astype(np.float64)
                total = total + np.einsum("oi,nihw->nohw", weight, tap.astype(np.float64))
            scale, bias = operation.scale.reshape(-1, 1, 1), operation.bias.reshape(-1, 1, 1)
            value = _fma(total.astype(np.float32), scale, bias)
            if operation.residual is not None:
                residual = tensors[operation.residual].astype(np.float32)
                value = _fma(residual, np.float32(operation.residual_scale), value)
            return _saturated(value)
        case IntegerMaxPool():
            padded = _padded(source, operation.padding, 0)
            return np.asarray(
                np.max([tap for _, tap in _taps(padded, operation.kernel, operation.stride)], axis=0)
            )
        case Mean():
            sums = source.astype(np.int64).sum(axis=(2, 3)) - zero * source.shape[2] * source.shape[3]
            return np.asarray(sums.astype(np.float32) * np.float32(operation.scale))
        case Dequantize():
            values = (source.astype(np.int64) - zero).astype(np.float32) * np.float32(operation.scale)
            return np.asarray(values.reshape(len(source), -1))
        case FloatLinear():
            values = source.astype(np.float64) @ operation.weight.T.astype(np.float64) + operation.bias
            return np.maximum(values, 0) if operation.relu else values
        case _:
            assert_never(operation)


def _fma(a: NDArray[Any] | np.float32, b: NDArray[Any] | np.float32, c: Any) -> NDArray[np.float32]:
    """a * b + c in float32, rounded once: float64 holds the product of two float32 exactly."""
    return np.asarray(np.float64(a) * np.float64(b) + np.float64(c)).astype(np.float32)


def _saturated(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _padded(values: NDArray[Any], padding: Padding, fill: int) -> NDArray[Any]:
    width = ((0, 0), (0, 0), (padding.top, padding.bottom), (padding.left, padding.right))
    return np.pad(values, width, constant_values=fill)


def _taps(
    padded: NDArray[Any], kernel: tuple[int, int], stride: Stride
) -> Iterator[tuple[tuple[int, int], NDArray[Any]]]:
    height = (padded.shape[2] - kernel[0]) // stride.height + 1
    width = (padded.shape[3] - kernel[1]) // stride.width + 1
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            last = row + (height - 1) * stride.height + 1, column + (width - 1) * stride.width + 1
            yield (row, column), padded[:, :, row : last[0] : stride.height, column : last[1] : stride.width]
