"""The quantised graph handed to the compiled int8 kernels, operation by operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime import _kernels
from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering.integer_graph import (
    Dequantize,
    FloatLinear,
    IntegerConv,
    IntegerMaxPool,
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


def _add(made: _kernels.Int8Network, operation: IntegerOperation) -> None:
    match operation:
        case IntegerConv(groups=1):
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
            )
        case IntegerMaxPool():
            made.max_pool(
                output=operation.output,
                input=operation.input,
                kernel=operation.kernel,
                stride=tuple(operation.stride),
                padding=tuple(operation.padding),
            )
        case Mean():
            made.mean(output=operation.output, input=operation.input, scale=operation.scale)
        case Dequantize():
            made.dequantize(output=operation.output, input=operation.input, scale=operation.scale)
        case FloatLinear():
            weight = np.ascontiguousarray(operation.weight, np.float32)
            bias = np.ascontiguousarray(operation.bias, np.float32)
            made.linear(
                output=operation.output, input=operation.input, weight=weight, bias=bias, relu=operation.relu
            )
        case _:
            name = type(operation).__name__
            raise UnsupportedModel(
                f"engine sparse-int8: the kernels do not know {name} (tensor {operation.output})"
            )
