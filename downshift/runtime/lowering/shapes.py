"""Shape inference: the per-example shape of an operation's output."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, assert_never

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
    from collections.abc import Sequence

    from downshift.runtime.lowering.graph import Operation, Shape


class ShapeError(ValueError):
    """Incompatible operands of an operation; the text names the shapes."""


LARGEST_TENSOR = 1 << 28
"""Maximum number of elements of a tensor per example: a guard against malformed and hostile models."""


def output_shape(operation: Operation, shapes: Sequence[Shape]) -> Shape:
    """The shape of `operation.output` given every earlier tensor's; raises `ShapeError`."""
    shape = _output_shape(operation, shapes)
    if min(shape) < 1:
        raise ShapeError(f"an output of shape {shape} is empty")
    if math.prod(shape) > LARGEST_TENSOR:
        raise ShapeError(f"an output of shape {shape} is too large")
    return shape


def _output_shape(operation: Operation, shapes: Sequence[Shape]) -> Shape:  # noqa: PLR0911, PLR0912 - one case each
    match operation:
        case Conv():
            return _conv(operation, shapes)
        case Linear():
            _require(
                shapes[operation.input] == operation.weight.shape[1:]
                and operation.bias.shape == operation.weight.shape[:1],
                f"weight {operation.weight.shape} does not fit input {shapes[operation.input]}",
            )
            return operation.bias.shape
        case MaxPool() | AveragePool():
            channels, *_ = _map(operation.input, shapes)
            return channels, *_window(operation, shapes, operation.kernel)
        case GlobalAveragePool():
            channels, _, _ = _map(operation.input, shapes)
            return channels, 1, 1
        case Add():
            left, right = shapes[operation.left], shapes[operation.right]
            _require(left == right, f"adds {left} to {right}")
            return left
        case Scale():
            channels, height, width = _map(operation.input, shapes)
            factor = shapes[operation.factor]
            _require(factor == (channels, 1, 1), f"factor {factor} is not one per channel")
            return channels, height, width
        case ChannelAffine():
            shape = shapes[operation.input]
            _require(
                operation.scale.shape == operation.shift.shape == shape[:1],
                f"scale {operation.scale.shape} does not fit input {shape}",
            )
            return shape
        case Activate():
            return shapes[operation.input]
        case Pad():
            shape = _map(operation.input, shapes)
            _require(min(operation.before + operation.after) >= 0, "negative padding")
            return tuple(b + s + a for b, s, a in zip(operation.before, shape, operation.after, strict=True))
        case Slice():
            _slice(operation, _map(operation.input, shapes))
            return operation.size
        case Concat():
            maps = [_map(tensor, shapes) for tensor in operation.inputs]
            _require(len({one[1:] for one in maps}) == 1, f"joins {maps} of unequal size")
            return sum(one[0] for one in maps), *maps[0][1:]
        case Flatten():
            return (math.prod(shapes[operation.input]),)
        case _:
            assert_never(operation)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ShapeError(problem)


def _map(tensor: int, shapes: Sequence[Shape]) -> tuple[int, int, int]:
    shape = shapes[tensor]
    if len(shape) != 3:  # noqa: PLR2004 - (C, H, W)
        raise ShapeError(f"input {shape} is not (channels, height, width)")
    return shape


def _conv(operation: Conv, shapes: Sequence[Shape]) -> Shape:
    channels, _, _ = _map(operation.input, shapes)
    weight, groups = operation.weight, operation.groups
    fits = (
        weight.ndim == 4  # noqa: PLR2004 - (O, I / groups, kH, kW)
        and groups > 0
        and weight.shape[1] * groups == channels
        and weight.shape[0] % groups == 0
        and operation.bias.shape == weight.shape[:1]
    )
    _require(fits, f"weight {weight.shape} in {groups} groups does not fit {channels} channels")
    height, width = weight.shape[2:]
    shape = weight.shape[0], *_window(operation, shapes, (height, width))
    if operation.residual is not None:
        residual = shapes[operation.residual]
        _require(residual == shape, f"residual {residual} does not fit output {shape}")
    return shape


def _window(
    operation: Conv | MaxPool | AveragePool, shapes: Sequence[Shape], kernel: tuple[int, int]
) -> tuple[int, int]:
    stride, padding = operation.stride, operation.padding
    _, height, width = _map(operation.input, shapes)
    _require(min(kernel) > 0, f"kernel {kernel} is empty")
    _require(min(stride) > 0, f"stride {tuple(stride)} stands still")
    _require(min(padding) >= 0, f"padding {tuple(padding)} is negative")
    if not isinstance(operation, Conv):
        reach = max(padding.top, padding.bottom) < kernel[0] and max(padding.left, padding.right) < kernel[1]
        _require(reach, f"padding {tuple(padding)} is wider than kernel {kernel}")
    rows = height + padding.top + padding.bottom - kernel[0]
    columns = width + padding.left + padding.right - kernel[1]
    _require(min(rows, columns) >= 0, f"kernel {kernel} is larger than its input {height}x{width}")
    return rows // stride.height + 1, columns // stride.width + 1


def _slice(operation: Slice, shape: tuple[int, int, int]) -> None:
    axes = zip(operation.start, operation.step, operation.size, shape, strict=True)
    fits = all(
        start >= 0 and step > 0 and size > 0 and start + (size - 1) * step < length
        for start, step, size, length in axes
    )
    _require(fits, f"{operation.size} from {operation.start} leaves {shape}")
