"""The quantised graph handed to the compiled int8 kernels, operation by operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import numpy as np

from downshift.runtime import _kernels
from downshift.runtime.errors import UnsupportedModel
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

if TYPE_CHECKING:
    from downshift.runtime.lowering.integer_graph import IntegerGraph, IntegerOperation


def network(graph: IntegerGraph) -> _kernels.Int8Network:
    """What the int8 kernels compile; raises `UnsupportedModel` naming the operation they refuse."""
    channels, height, width = graph.input_shape
    try:
        made = _kernels.Int8Network((channels, height, width), graph.input.scale, graph.input.zero)
        for operation in graph.operations:
            _add(made, operation)
    except (ValueError, TypeError) as error:
        raise UnsupportedModel(f"engine sparse-int8: {error}") from error
    return made


def _add(made: _kernels.Int8Network, operation: IntegerOperation) -> None:  # noqa: PLR0912 - one case each
    match operation:
        case IntegerConv():
            made.conv(
                output=operation.output,
                input=operation.input,
                weight=np.ascontiguousarray(operation.weight),
                scale=operation.scale,
                bias=operation.bias,
                stride=tuple(operation.stride),
                padding=tuple(operation.padding),
                zero=operation.zero,
                residual=operation.residual,
                residual_scale=operation.residual_scale,
                groups=operation.groups,
            )
        case IntegerMaxPool():
            made.max_pool(
                output=operation.output,
                input=operation.input,
                kernel=operation.kernel,
                stride=tuple(operation.stride),
                padding=tuple(operation.padding),
            )
        case IntegerAveragePool():
            made.average_pool(
                output=operation.output,
                input=operation.input,
                kernel=operation.kernel,
                stride=tuple(operation.stride),
                padding=tuple(operation.padding),
                count_padding=operation.count_padding,
            )
        case IntegerMean(output=output, input=source, scale=scale, bias=shift, zero=zero):
            made.mean_map(output=output, input=source, scale=scale, bias=shift, zero=zero)
        case IntegerAdd():
            made.add(
                output=operation.output,
                left=operation.left,
                right=operation.right,
                left_scale=operation.left_scale,
                right_scale=operation.right_scale,
                bias=operation.bias,
                zero=operation.zero,
            )
        case IntegerAffine(output=output, input=source, zero=zero):
            made.affine(output=output, input=source, scale=operation.scale, bias=operation.bias, zero=zero)
        case IntegerScale(output=output, input=source, factor=factor, scale=scale, zero=zero):
            made.scale(output=output, input=source, factor=factor, scale=scale, zero=zero)
        case IntegerTable(output=output, input=source, table=table, zero=zero):
            made.lookup(output=output, input=source, table=table, zero=zero)
        case IntegerTake(output=output, input=source, start=start, step=step, size=size):
            made.take(output=output, input=source, start=start, step=step, size=size)
        case IntegerConcat(output=output, inputs=inputs, tables=tables, zero=zero):
            made.concat(output=output, inputs=list(inputs), tables=tables, zero=zero)
        case Mean(output=output, input=source, scale=scale):
            made.mean(output=output, input=source, scale=scale)
        case Dequantize(output=output, input=source, scale=scale):
            made.dequantize(output=output, input=source, scale=scale)
        case FloatLinear(output=output, input=source, relu=relu):
            weight = np.ascontiguousarray(operation.weight, np.float32)
            bias = np.ascontiguousarray(operation.bias, np.float32)
            made.linear(output=output, input=source, weight=weight, bias=bias, relu=relu)
        case FloatActivate(output=output, input=source, activation=activation):
            made.activate(output=output, input=source, activation=activation.value)
        case _:
            assert_never(operation)
