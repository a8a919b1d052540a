"""From a graph and activation ranges to the operations of the int8 kernels (`lowering.integer_graph`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.errors import UnsupportedModel
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
from downshift.runtime.lowering.integer_graph import (
    Dequantize,
    FloatActivate,
    FloatLinear,
    IntegerAdd,
    IntegerAffine,
    IntegerAveragePool,
    IntegerConcat,
    IntegerConv,
    IntegerGraph,
    IntegerMaxPool,
    IntegerMean,
    IntegerScale,
    IntegerTable,
    IntegerTake,
    Mean,
)
from downshift.runtime.lowering.quantize import LEVELS, SATURATING, quantize
from downshift.runtime.lowering.reference import activate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from downshift.runtime.lowering.graph import Graph, Operation, TensorId
    from downshift.runtime.lowering.integer_graph import IntegerOperation
    from downshift.runtime.lowering.quantize import Affine, Quantization, Ranges

LARGEST_SUM = 2**31 - 1
LARGEST_RESULT = 2.0**31 - 1024
"""Below it every float32 rounds to an int32."""


def integer(graph: Graph, ranges: Ranges) -> IntegerGraph:
    """`graph` in int8 with activation ranges by tensor name.

    Raises `UnsupportedModel` naming the operation that the kernels do not know or whose sums might not fit 32
    bits, or the missing range.
    """
    quantization = quantize(graph, ranges, fused=True)
    if 0 not in quantization.affine:
        raise UnsupportedModel(f"int8 kernels take images, not an input of shape {graph.shapes[0]}")
    builder = _Builder(quantization)
    for operation in quantization.graph.operations:
        builder.add(operation)
    return IntegerGraph(
        graph.shapes[0], quantization.affine[0], tuple(builder.operations), tuple(builder.zeros)
    )


class _Builder:
    def __init__(self, quantization: Quantization) -> None:
        self._quantization, self._graph = quantization, quantization.graph
        self._affine = quantization.affine
        self._number: dict[TensorId, int] = {0: 0}
        self.operations: list[IntegerOperation] = []
        self.zeros = [self._affine[0].zero]

    def add(self, operation: Operation) -> None:  # noqa: PLR0912 - one case each
        """Append what computes `operation`."""
        match operation:
            case Flatten(output, source) if source not in self._affine:
                self._number[output] = self._number[source]
                return
            case Conv():
                self._conv(operation)
            case MaxPool() | AveragePool():
                self._pool(operation)
            case GlobalAveragePool():
                self._mean(operation)
            case Add(output, left, right, activation) if activation in SATURATING:
                self._add(operation, self._source(operation, left), self._source(operation, right))
            case Scale():
                self._scale(operation)
            case ChannelAffine() if operation.activation in SATURATING:
                self._channels(operation)
            case Activate(output, source, activation) if source in self._affine:
                table = self._table(self._affine[source], self._target(operation), activation)
                self._append(
                    IntegerTable(
                        output=self._next(output),
                        input=self._number[source],
                        table=table,
                        zero=self._affine[output].zero,
                    )
                )
            case Activate(output, source, activation):
                self._append(
                    FloatActivate(
                        input=self._number[source], output=self._next(output), activation=activation
                    )
                )
            case Pad(output, source, before, _):
                start = (-before[0], -before[1], -before[2])
                self._take(operation, start, (1, 1, 1), self._graph.shapes[output])
            case Slice(_, _, start, step, size):
                self._take(operation, start, step, size)
            case Concat():
                self._concat(operation)
            case Flatten(output, source):
                scale = self._affine[source].scale
                self._append(Dequantize(input=self._number[source], output=self._next(output), scale=scale))
            case Linear():
                self._linear(operation)
            case _:
                raise self._unknown(operation)

    def _conv(self, conv: Conv) -> None:
        source, target = self._source(conv, conv.input), self._target(conv)
        if conv.stride.height != conv.stride.width or conv.activation not in SATURATING:
            raise self._unknown(conv)
        weight, added = self._quantization.weight(conv), self._quantization.bias(conv)
        scale = (weight.scale.astype(np.float64) * source.scale / target.scale).astype(np.float32)
        each = weight.values.reshape(len(scale), -1).astype(np.int64)
        bias = (added.values - each.sum(axis=1) * source.zero) * scale.astype(np.float64) + target.zero
        residual, residual_scale = None, 0.0
        if conv.residual is not None:
            other = self._source(conv, conv.residual)
            residual, residual_scale = self._number[conv.residual], _single(other.scale / target.scale)
            bias = bias - residual_scale * other.zero
        sums = np.abs(each).sum(axis=1) * LEVELS
        self._fits(conv, sums, sums * np.abs(scale) + np.abs(bias) + LEVELS * residual_scale)
        self._append(
            IntegerConv(
                input=self._number[conv.input],
                output=self._next(conv.output),
                weight=weight.values,
                scale=scale,
                bias=bias.astype(np.float32),
                stride=conv.stride,
                padding=conv.padding,
                zero=target.zero,
                residual=residual,
                residual_scale=residual_scale,
                groups=conv.groups,
            )
        )

    def _pool(self, pool: MaxPool | AveragePool) -> None:
        self._source(pool, pool.input)
        self._target(pool)
        if pool.stride.height != pool.stride.width:
            raise self._unknown(pool)
        source, output = self._number[pool.input], self._next(pool.output)
        kernel, stride, padding = pool.kernel, pool.stride, pool.padding
        if isinstance(pool, MaxPool):
            self._append(
                IntegerMaxPool(output=output, input=source, kernel=kernel, stride=stride, padding=padding)
            )
        else:
            self._append(
                IntegerAveragePool(
                    output=output,
                    input=source,
                    kernel=kernel,
                    stride=stride,
                    padding=padding,
                    count_padding=pool.count_padding,
                )
            )

    def _mean(self, pool: GlobalAveragePool) -> None:
        source, number = self._source(pool, pool.input), self._number[pool.input]
        pixels = self._graph.shapes[pool.input][1] * self._graph.shapes[pool.input][2]
        self._fits(pool, np.array([pixels * LEVELS]), np.zeros(1))
        target = self._affine.get(pool.output)
        if target is None:
            scale = _single(source.scale / pixels)
            self._append(Mean(output=self._next(pool.output), input=number, scale=scale))
            return
        ratio = source.scale / target.scale
        self._fits(pool, np.zeros(1), np.array([2 * LEVELS * ratio]))
        self._append(
            IntegerMean(
                output=self._next(pool.output),
                input=number,
                scale=_single(ratio / pixels),
                bias=_single(target.zero - source.zero * ratio),
                zero=target.zero,
            )
        )

    def _add(self, add: Add, left: Affine, right: Affine) -> None:
        target = self._target(add)
        ratios = left.scale / target.scale, right.scale / target.scale
        self._fits(add, np.zeros(1), np.array([2 * LEVELS * sum(ratios)]))
        self._append(
            IntegerAdd(
                left=self._number[add.left],
                right=self._number[add.right],
                output=self._next(add.output),
                left_scale=_single(ratios[0]),
                right_scale=_single(ratios[1]),
                bias=_single(target.zero - ratios[0] * left.zero - ratios[1] * right.zero),
                zero=target.zero,
            )
        )

    def _scale(self, scale: Scale) -> None:
        source, factor = self._source(scale, scale.input), self._source(scale, scale.factor)
        target = self._target(scale)
        ratio = source.scale * factor.scale / target.scale
        self._fits(scale, np.zeros(1), np.array([2 * LEVELS**2 * ratio]))
        self._append(
            IntegerScale(
                input=self._number[scale.input],
                factor=self._number[scale.factor],
                output=self._next(scale.output),
                scale=_single(ratio),
                zero=target.zero,
            )
        )

    def _channels(self, affine: ChannelAffine) -> None:
        source, target = self._source(affine, affine.input), self._target(affine)
        scale = affine.scale.astype(np.float64) * source.scale / target.scale
        bias = affine.shift.astype(np.float64) / target.scale + target.zero - scale * source.zero
        self._fits(affine, np.zeros(1), LEVELS * np.abs(scale) + np.abs(bias))
        self._append(
            IntegerAffine(
                input=self._number[affine.input],
                output=self._next(affine.output),
                scale=scale.astype(np.float32),
                bias=bias.astype(np.float32),
                zero=target.zero,
            )
        )

    def _take(
        self,
        operation: Pad | Slice,
        start: tuple[int, int, int],
        step: tuple[int, int, int],
        size: tuple[int, ...],
    ) -> None:
        self._source(operation, operation.input)
        self._target(operation)
        channels, height, width = size
        number = self._number[operation.input]
        self._append(
            IntegerTake(
                output=self._next(operation.output),
                input=number,
                start=start,
                step=step,
                size=(channels, height, width),
            )
        )

    def _concat(self, concat: Concat) -> None:
        sources, target = [self._source(concat, one) for one in concat.inputs], self._target(concat)
        tables = [self._table(source, target, Activation.NONE) for source in sources]
        inputs = tuple(self._number[one] for one in concat.inputs)
        output = self._next(concat.output)
        self._append(IntegerConcat(output=output, inputs=inputs, tables=np.stack(tables), zero=target.zero))

    def _linear(self, linear: Linear) -> None:
        relu = linear.activation is Activation.RELU
        self._append(
            FloatLinear(
                input=self._number[linear.input],
                output=self._next(linear.output),
                weight=linear.weight,
                bias=linear.bias,
                relu=relu,
            )
        )
        if linear.activation not in {Activation.NONE, Activation.RELU}:
            number = self._number[linear.output]
            self._append(
                FloatActivate(input=number, output=self._next(linear.output), activation=linear.activation)
            )

    def _table(self, source: Affine, target: Affine, activation: Activation) -> NDArray[np.uint8]:
        """The quantised result of every quantised value."""
        values = activate((np.arange(LEVELS + 1, dtype=np.float64) - source.zero) * source.scale, activation)
        return np.clip(np.rint(values / target.scale + target.zero), 0, LEVELS).astype(np.uint8)

    def _append(self, operation: IntegerOperation) -> None:
        self.operations.append(operation)

    def _next(self, tensor: TensorId) -> int:
        self._number[tensor] = len(self.zeros)
        affine = self._affine.get(tensor)
        self.zeros.append(affine.zero if affine else 0)
        return self._number[tensor]

    def _source(self, operation: Operation, tensor: TensorId) -> Affine:
        if tensor not in self._affine:
            raise self._unknown(operation)
        return self._affine[tensor]

    def _target(self, operation: Operation) -> Affine:
        return self._source(operation, operation.output)

    def _fits(
        self, operation: Operation, sums: NDArray[np.int64 | np.float64], results: NDArray[np.float64]
    ) -> None:
        """Refuse an operation whose integer sums or whose results before saturation may not fit 32 bits."""
        if not (np.all(sums < LARGEST_SUM) and np.all(results < LARGEST_RESULT)):  # NaN included
            raise UnsupportedModel(f"int8 sums of this {self._what(operation)} may exceed 32 bits")

    def _unknown(self, operation: Operation) -> UnsupportedModel:
        return UnsupportedModel(f"the int8 kernels do not know this {self._what(operation)}")

    def _what(self, operation: Operation) -> str:
        return f"{type(operation).__name__} (tensor {self._graph.names[operation.output]!r})"


def _single(value: float) -> float:
    """The nearest float32."""
    return float(np.float32(value))
