"""Lowers operators that move values without arithmetic: reshape, pad, slice, concatenate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.lowering.graph import Concat, Flatten, Pad, Slice
from downshift.runtime.lowering.scope import Variable

if TYPE_CHECKING:
    from downshift.runtime.lowering.read import Array
    from downshift.runtime.lowering.scope import Call, Scope

RANK = 4
"""Dimensions of [N, C, H, W]."""


def flatten(scope: Scope, call: Call) -> Variable:
    """Flatten to [N, C]."""
    tensor = call.variable(0)
    axis = call.node.integer("axis", 1)
    if axis not in {1, 1 - len(scope.full_shape(tensor))}:
        raise call.node.error(f"axis {axis} does not keep the batch")
    return flattened(scope, tensor)


def flattened(scope: Scope, tensor: Variable) -> Variable:
    """`tensor` as (C,)."""
    if len(scope.shape(tensor)) == 1:
        return tensor
    return scope.emit(lambda output: Flatten(output, tensor.id))


def reshape(scope: Scope, call: Call) -> Variable:
    """A reshape that is the identity, a flattening, or the inverse of one."""
    tensor = call.variable(0)
    source, target = scope.full_shape(tensor), list(call.numbers(1, "shape") or ())
    if not call.node.integer("allowzero", 0):
        target = [source[i] if size == 0 and i < len(source) else size for i, size in enumerate(target)]
    if target.count(-1) == 1:
        rest = math.prod(size for size in target if size != -1)
        target[target.index(-1)] = math.prod(source) // rest if rest else 0
    return _reshaped(scope, call, tensor, tuple(target))


def squeeze(scope: Scope, call: Call) -> Variable:
    """Squeeze of height and width of size 1: a flattening."""
    tensor = call.variable(0)
    shape = scope.full_shape(tensor)
    axes = {axis % len(shape) for axis in call.numbers(1, "axes") or ()}
    if not axes or any(shape[axis] != 1 for axis in axes):
        raise call.node.error(f"axes {sorted(axes)} of {shape[1:]} are not all named and of size 1")
    return _reshaped(scope, call, tensor, tuple(size for i, size in enumerate(shape) if i not in axes))


def unsqueeze(scope: Scope, call: Call) -> Variable:
    """Unsqueeze of a flattened map of 1x1 pixels: the inverse of that flattening."""
    tensor = call.variable(0)
    axes = call.numbers(1, "axes") or ()
    rank = len(scope.full_shape(tensor)) + len(axes)
    rest = iter(scope.full_shape(tensor))
    named = {axis % rank for axis in axes}
    if len(named) != len(axes):
        raise call.node.error(f"axes {axes} are not distinct")
    return _reshaped(scope, call, tensor, tuple(1 if i in named else next(rest) for i in range(rank)))


def _reshaped(scope: Scope, call: Call, tensor: Variable, target: tuple[int, ...]) -> Variable:
    source = scope.full_shape(tensor)
    if target == source:
        return tensor
    if target == (scope.batch, math.prod(source[1:])):
        return flattened(scope, tensor)
    producer = scope.producer(tensor)
    if isinstance(producer, Flatten) and target == scope.full_shape(Variable(producer.input)):
        return Variable(producer.input)
    raise call.node.error(f"the shape {target[1:]} is not {source[1:]} flattened")


def pad(scope: Scope, call: Call) -> Variable:
    """Zero padding of channels, height and width."""
    node, tensor = call.node, call.variable(0)
    if (mode := node.text("mode", "constant")) != "constant" or call.number(2, "value", 0.0):
        raise node.error(f"padding in mode {mode!r} with anything but zeros")
    amounts = call.numbers(1, "pads") or ()
    axes = call.numbers(3, "axes") or tuple(range(len(amounts) // 2))
    shape = scope.full_shape(tensor)
    if len(shape) != RANK or len(amounts) != 2 * len(axes) or any(not -RANK <= axis < RANK for axis in axes):
        raise node.error(f"pads {amounts} do not fit input {shape[1:]}")
    before, after = [0] * RANK, [0] * RANK
    for axis, first, last in zip(axes, amounts, amounts[len(axes) :], strict=False):
        before[axis], after[axis] = first, last
    if min(before + after) < 0 or before[0] or after[0]:
        raise node.error(f"pads {amounts} are negative or change the batch")
    return _padded(scope, tensor, (before[1], before[2], before[3]), (after[1], after[2], after[3]))


def _padded(
    scope: Scope, tensor: Variable, before: tuple[int, int, int], after: tuple[int, int, int]
) -> Variable:
    if not any(before + after):
        return tensor
    return scope.emit(lambda output: Pad(output, tensor.id, before, after))


def slice_(scope: Scope, call: Call) -> Variable:
    """Slicing of channels, height and width with positive steps."""
    node, tensor = call.node, call.variable(0)
    shape = scope.full_shape(tensor)
    starts, ends = call.numbers(1, "starts") or (), call.numbers(2, "ends") or ()
    axes = call.numbers(3, "axes") or tuple(range(len(starts)))
    steps = call.numbers(4, "steps") or (1,) * len(starts)
    if len(shape) != RANK or not len(starts) == len(ends) == len(axes) == len(steps):
        raise node.error(f"starts {starts} and ends {ends} do not fit input {shape[1:]}")
    ranges = [range(size) for size in shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if not -RANK <= axis < RANK or step < 1:
            raise node.error(f"axis {axis} with step {step} is not a step forward")
        ranges[axis] = range(*slice(start, end, step).indices(shape[axis]))
    if len(ranges[0]) != shape[0] or not all(ranges):
        raise node.error(f"starts {starts} and ends {ends} leave nothing or change the batch")
    if tuple(map(len, ranges)) == shape:
        return tensor
    _, c, h, w = ranges
    return scope.emit(
        lambda output: Slice(
            output,
            tensor.id,
            (c.start, h.start, w.start),
            (c.step, h.step, w.step),
            (len(c), len(h), len(w)),
        )
    )


def concat(scope: Scope, call: Call) -> Variable:
    """Concatenation along the channels; one map and constant zeros is zero padding."""
    node = call.node
    if node.integer("axis", 1) not in {1, 1 - RANK}:
        raise node.error(f"axis {node.integer('axis', 1)} is not the channels")
    tensors = [value for value in call.values if isinstance(value, Variable)]
    if len(tensors) == len(call.values):
        if len(tensors) == 1:
            return tensors[0]
        return scope.emit(lambda output: Concat(output, tuple(tensor.id for tensor in tensors)))
    if len(tensors) != 1:
        raise node.error("joins constants with more than one map")
    shape = scope.full_shape(tensors[0])
    before, after = 0, 0
    for value in call.values:
        if isinstance(value, Variable):
            before, after = after, 0
        else:
            after += _zero_channels(call, value, shape)
    return _padded(scope, tensors[0], (before, 0, 0), (after, 0, 0))


def _zero_channels(call: Call, value: Array | None, shape: tuple[int, ...]) -> int:
    """Number of zero channels `value` adds; broadcast elements are checked once."""
    if value is None or value.ndim != RANK or value.shape[2:] != shape[2:] or value.shape[0] != shape[0]:
        raise call.node.error(f"joins a constant that does not fit input {shape[1:]}")
    seen = value[tuple(slice(1) if stride == 0 else slice(None) for stride in value.strides)]
    if np.any(seen):
        raise call.node.error("joins a constant that is not zero")
    return int(value.shape[1])
