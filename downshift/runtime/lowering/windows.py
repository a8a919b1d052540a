"""Lowers sliding-window operators: convolution and pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.lowering.graph import AveragePool, Conv, GlobalAveragePool, MaxPool, Padding, Stride

if TYPE_CHECKING:
    from downshift.runtime.lowering.scope import Call, Scope, Variable

LARGEST_KERNEL = 7
LARGEST_STRIDE = 2


def conv(scope: Scope, call: Call) -> Variable:
    """A convolution of 1x1 to 7x7, stride 1 or 2, any padding and groups, no dilation."""
    node, tensor, weight = call.node, call.variable(0), call.weight(1)
    if weight.ndim != 4 or len(scope.shape(tensor)) != 3:  # noqa: PLR2004 - [O, I, kH, kW] on (C, H, W)
        raise node.error(f"weight {weight.shape} on input {scope.shape(tensor)} is not two-dimensional")
    kernel: tuple[int, int] = weight.shape[2:]
    declared = node.integers("kernel_shape") or kernel
    if declared != kernel:
        raise node.error(f"kernel_shape {declared} is not that of weight {weight.shape}")
    stride, padding = _window(scope, call, kernel)
    if not 1 <= min(kernel) <= max(kernel) <= LARGEST_KERNEL:
        raise node.error(f"kernel {kernel} is not within 1x1 to 7x7")
    if max(stride) > LARGEST_STRIDE:
        raise node.error(f"stride {tuple(stride)} is not 1 or 2")
    bias = np.zeros(weight.shape[0], np.float32) if call.constant(2) is None else call.weight(2)
    groups = node.integer("group", 1)
    return scope.emit(
        lambda output: Conv(
            output,
            tensor.id,
            np.ascontiguousarray(weight),
            bias,
            stride,
            padding,
            groups,
            name=node.name,
        )
    )


def max_pool(scope: Scope, call: Call) -> Variable:
    """Max pooling; ceil_mode becomes padding with minus infinity at bottom and right."""
    tensor, kernel = _pool_input(scope, call)
    stride, padding = _window(scope, call, kernel)
    if call.node.integer("ceil_mode", 0):
        _, height, width = scope.shape(tensor)
        bottom = _ceil(height, kernel[0], stride.height, padding.top, padding.bottom)
        right = _ceil(width, kernel[1], stride.width, padding.left, padding.right)
        padding = padding._replace(bottom=bottom, right=right)
    if kernel == (1, 1) and stride == (1, 1) and not any(padding):
        return tensor
    return scope.emit(lambda output: MaxPool(output, tensor.id, kernel, stride, padding))


def average_pool(scope: Scope, call: Call) -> Variable:
    """Average pooling; ceil_mode only if every window is complete."""
    node = call.node
    tensor, kernel = _pool_input(scope, call)
    stride, padding = _window(scope, call, kernel)
    _, height, width = scope.shape(tensor)
    if node.integer("ceil_mode", 0):
        rest = (height + padding.top + padding.bottom - kernel[0]) % stride.height
        rest |= (width + padding.left + padding.right - kernel[1]) % stride.width
        if rest:
            raise node.error("ceil_mode leaves a partial window")
    if kernel == (1, 1) and stride == (1, 1) and not any(padding):
        return tensor
    if kernel == (height, width) and not any(padding):
        return scope.emit(lambda output: GlobalAveragePool(output, tensor.id))
    counted = bool(node.integer("count_include_pad", 0)) or not any(padding)
    return scope.emit(lambda output: AveragePool(output, tensor.id, kernel, stride, padding, counted))


def global_average_pool(scope: Scope, call: Call) -> Variable:
    """Global average pooling, (C, 1, 1)."""
    tensor = call.variable(0)
    return scope.emit(lambda output: GlobalAveragePool(output, tensor.id))


def global_max_pool(scope: Scope, call: Call) -> Variable:
    """Global max pooling, (C, 1, 1)."""
    tensor = call.variable(0)
    kernel = scope.shape(tensor)[1:]
    if len(kernel) != 2:  # noqa: PLR2004 - (H, W)
        raise call.node.error(f"input {scope.shape(tensor)} is not two-dimensional")
    height, width = kernel
    window = (height, width)
    none = Padding(0, 0, 0, 0)
    return scope.emit(lambda output: MaxPool(output, tensor.id, window, Stride(1, 1), none))


def _pool_input(scope: Scope, call: Call) -> tuple[Variable, tuple[int, int]]:
    tensor = call.variable(0)
    kernel = call.node.integers("kernel_shape")
    if kernel is None or len(kernel) != 2 or min(kernel) < 1 or len(scope.shape(tensor)) != 3:  # noqa: PLR2004
        raise call.node.error(f"kernel {kernel} on input {scope.shape(tensor)} is not two-dimensional")
    return tensor, (kernel[0], kernel[1])


def _window(scope: Scope, call: Call, kernel: tuple[int, int]) -> tuple[Stride, Padding]:
    """Stride and explicit padding; raises `UnsupportedModel` for dilation."""
    node = call.node
    strides = node.integers("strides") or (1, 1)
    dilations = node.integers("dilations") or (1, 1)
    if len(strides) != 2 or min(strides) < 1:  # noqa: PLR2004 - height, width
        raise node.error(f"strides {strides} are not two positive numbers")
    if dilations != (1, 1):
        raise node.error(f"dilation {dilations} is not 1")
    stride = Stride(*strides)
    automatic = node.text("auto_pad", "NOTSET")
    if automatic in {"SAME_UPPER", "SAME_LOWER"}:
        _, height, width = scope.shape(call.variable(0))
        vertical = _same(height, kernel[0], stride.height, upper=automatic == "SAME_UPPER")
        horizontal = _same(width, kernel[1], stride.width, upper=automatic == "SAME_UPPER")
        return stride, Padding(vertical[0], horizontal[0], vertical[1], horizontal[1])
    if automatic == "VALID":
        return stride, Padding(0, 0, 0, 0)
    if automatic != "NOTSET":
        raise node.error(f"auto_pad {automatic!r} is not known")
    pads = node.integers("pads") or (0, 0, 0, 0)
    if len(pads) != 4 or min(pads) < 0:  # noqa: PLR2004 - top, left, bottom, right
        raise node.error(f"pads {pads} are not four numbers of at least 0")
    return stride, Padding(*pads)


def _same(length: int, kernel: int, stride: int, *, upper: bool) -> tuple[int, int]:
    """Padding (before, after) that yields ceil(length / stride) windows: ONNX's SAME."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    small, large = total // 2, total - total // 2
    return (small, large) if upper else (large, small)


def _ceil(length: int, kernel: int, stride: int, before: int, after: int) -> int:
    """Padding after the map that completes ceil_mode's last window, if that starts in map or padding."""
    windows = -(-(length + before + after - kernel) // stride) + 1
    if (windows - 1) * stride >= length + before:
        windows -= 1
    return max((windows - 1) * stride + kernel - length - before, 0)
