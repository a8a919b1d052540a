"""Operator fusion and dead-code elimination.

One pass in topological order: an operation is fused into its producer if it is the only consumer and the
order convolution, affine map, residual, activation is kept. The fused operation takes the place of its last
part, so all its inputs are computed before it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from downshift.runtime.lowering.fold import fold_affine
from downshift.runtime.lowering.graph import (
    Activate,
    Activation,
    Add,
    AveragePool,
    ChannelAffine,
    Concat,
    Conv,
    Graph,
    Linear,
    Pad,
    Padding,
    Scale,
    Slice,
    inputs_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from downshift.runtime.lowering.graph import Operation, TensorId


def fused(graph: Graph) -> Graph:
    """An equivalent graph after fusion, its tensors renumbered without gaps."""
    graph = compact(graph)
    uses = Counter(tensor for operation in graph.operations for tensor in inputs_of(operation))
    uses[graph.output] += 1
    done: dict[TensorId, Operation] = {}
    for operation in graph.operations:
        current = _without_pad(operation, done)
        for tensor in sorted(set(inputs_of(current)), reverse=True):
            if uses[tensor] == 1 and tensor in done and (merged := _merged(done[tensor], current)):
                del done[tensor]
                current = merged
                break
        done[current.output] = current
    return compact(replace(graph, operations=tuple(done.values())))


def compact(graph: Graph) -> Graph:
    """Dead-code elimination: the operations the output depends on, tensors renumbered without gaps."""
    alive = {graph.output}
    kept: list[Operation] = []
    for operation in reversed(graph.operations):
        if operation.output in alive:
            alive.update(inputs_of(operation))
            kept.append(operation)
    kept.reverse()
    number = {tensor: i for i, tensor in enumerate([0, *(operation.output for operation in kept)])}
    return Graph(
        tuple(_renumbered(operation, number) for operation in kept),
        tuple(graph.shapes[tensor] for tensor in number),
        number[graph.output],
        tuple(graph.names[tensor] for tensor in number) if graph.names else (),
    )


def _merged(source: Operation, operation: Operation) -> Operation | None:
    """`source` fused with `operation`, its only consumer; None if they cannot be fused."""
    match source, operation:
        case _, ChannelAffine():
            return fold_affine(source, operation)
        case Conv(activation=Activation.NONE, residual=None), Add():
            other = operation.right if operation.left == source.output else operation.left
            return replace(source, output=operation.output, residual=other, activation=operation.activation)
        case ((Conv() | Linear() | Add() | ChannelAffine()), Activate()) if (
            source.activation is Activation.NONE
        ):
            return replace(source, output=operation.output, activation=operation.activation)
        case Slice(), Slice():
            return _sliced_twice(source, operation)
        case _:
            return None


def _sliced_twice(first: Slice, second: Slice) -> Slice:
    (c, h, w), (dc, dh, dw) = first.start, first.step
    start = c + second.start[0] * dc, h + second.start[1] * dh, w + second.start[2] * dw
    step = dc * second.step[0], dh * second.step[1], dw * second.step[2]
    return Slice(second.output, first.input, start, step, second.size)


def _without_pad(operation: Operation, done: Mapping[TensorId, Operation]) -> Operation:
    """`operation` with a preceding `Pad` of height and width absorbed into its own padding."""
    if not isinstance(operation, Conv | AveragePool):
        return operation
    pad = done.get(operation.input)
    if not isinstance(pad, Pad) or pad.before[0] or pad.after[0]:
        return operation
    own = operation.padding
    padding = Padding(
        own.top + pad.before[1], own.left + pad.before[2], own.bottom + pad.after[1], own.right + pad.after[2]
    )
    if isinstance(operation, Conv):
        return replace(operation, input=pad.input, padding=padding)
    high, wide = operation.kernel
    reach = max(padding.top, padding.bottom) < high and max(padding.left, padding.right) < wide
    if reach and (operation.count_padding or not any(own)):
        return replace(operation, input=pad.input, padding=padding, count_padding=True)
    return operation


def _renumbered(operation: Operation, number: Mapping[TensorId, TensorId]) -> Operation:
    output = number[operation.output]
    match operation:
        case Conv():
            residual = None if operation.residual is None else number[operation.residual]
            return replace(operation, output=output, input=number[operation.input], residual=residual)
        case Add():
            return replace(
                operation, output=output, left=number[operation.left], right=number[operation.right]
            )
        case Scale():
            return replace(
                operation, output=output, input=number[operation.input], factor=number[operation.factor]
            )
        case Concat():
            return replace(operation, output=output, inputs=tuple(number[one] for one in operation.inputs))
        case _:
            return replace(operation, output=output, input=number[operation.input])
