"""Translates a lowered graph into the kernels' `Network`, operation by operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import numpy as np

from downshift.runtime import _kernels
from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering.graph import (
    Activate,
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
    from numpy.typing import NDArray

    from downshift.runtime.lowering.graph import FloatArray, Graph, Operation, Shape


def network(graph: Graph) -> _kernels.Network:
    """The graph as a `Network` that can be compiled; raises `UnsupportedModel` naming a refused operation."""
    image = graph.shapes[0]
    if len(image) != 3:  # noqa: PLR2004 - channels, height, width
        raise UnsupportedModel(f"engine sparse: the input has shape {image}, it reads images (C, H, W)")
    try:
        made = _kernels.Network((image[0], image[1], image[2]))
        for operation in graph.operations:
            _add(made, operation, graph.shapes)
        made.finish(graph.output)
    except (ValueError, TypeError) as error:
        raise UnsupportedModel(f"engine sparse: {error}") from error
    return made


def _floats(values: FloatArray) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, dtype=np.float32)


def _add(made: _kernels.Network, operation: Operation, shapes: tuple[Shape, ...]) -> None:  # noqa: PLR0912 - one case each
    match operation:
        case Conv():
            made.conv(
                operation.output,
                operation.input,
                _floats(operation.weight),
                _floats(operation.bias),
                stride=operation.stride,
                padding=operation.padding,
                groups=operation.groups,
                activation=operation.activation.value,
                residual=operation.residual,
            )
        case Linear(output=output, input=source):
            weight, bias = _floats(operation.weight), _floats(operation.bias)
            made.linear(output, source, weight, bias, activation=operation.activation.value)
        case MaxPool(output, source, kernel, stride, padding):
            made.pool(output, source, kernel=kernel, stride=stride, padding=padding, maximum=True)
        case AveragePool(output, source, kernel, stride, padding, count_padding):
            made.pool(
                output,
                source,
                kernel=kernel,
                stride=stride,
                padding=padding,
                maximum=False,
                count_padding=count_padding,
            )
        case GlobalAveragePool(output, source):
            made.global_average(output, source)
        case Add(output, left, right, activation):
            made.combine(output, left, addend=right, activation=activation.value)
        case Scale(output, source, factor):
            made.combine(output, source, factor=factor)
        case Activate(output, source, activation):
            made.combine(output, source, activation=activation.value)
        case ChannelAffine(output=output, input=source):
            scale, shift = _floats(operation.scale), _floats(operation.shift)
            activation = operation.activation
            if len(shapes[source]) == 1:
                made.linear(output, source, np.diag(scale), shift, activation=activation.value)
            else:
                made.combine(output, source, scale=scale, shift=shift, activation=activation.value)
        case Pad(output, source, before, _):
            channels, top, left = before
            piece = _kernels.Piece(
                input=source, channels=shapes[source][0], output_channel=channels, top=-top, left=-left
            )
            made.place(output, shapes[output], [piece])
        case Slice(output, source, start, step, size):
            piece = _kernels.Piece(
                input=source,
                channels=size[0],
                input_channel=start[0],
                channel_step=step[0],
                stride_y=step[1],
                stride_x=step[2],
                top=start[1],
                left=start[2],
            )
            made.place(output, shapes[output], [piece])
        case Concat(output, sources):
            pieces, channel = [], 0
            for source in sources:
                channels = shapes[source][0]
                pieces.append(_kernels.Piece(input=source, channels=channels, output_channel=channel))
                channel += channels
            made.place(output, shapes[output], pieces)
        case Flatten(output, source):
            made.flatten(output, source)
        case _:
            assert_never(operation)
