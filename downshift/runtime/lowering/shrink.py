"""Dead-channel elimination: removes channels the output does not depend on, for a speed-up on any engine.

Tensors with channels tied one to one (by additions, activations, pooling, depthwise convolutions) form a
family: a channel is removed from all of them or from none. It is removable if every channel-mixing consumer
either has zero weights for it or reads a constant, which is then folded into the consumer's bias. A non-zero
constant beside zero padding is not constant to a padded layer, so such a channel stays.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.lowering.graph import (
    Activate,
    Add,
    AveragePool,
    ChannelAffine,
    Conv,
    Flatten,
    GlobalAveragePool,
    Graph,
    Linear,
    MaxPool,
    Scale,
    inputs_of,
)
from downshift.runtime.lowering.reference import activate
from downshift.runtime.lowering.shapes import output_shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from downshift.runtime.lowering.graph import Operation, Shape, TensorId

    Constants = NDArray[np.float64]
    Kept = NDArray[np.intp]

WIDTH = 16
"""Channel counts are rounded up to a multiple of this: float32 lanes of the widest vector register."""


def shrunk(graph: Graph) -> Graph:
    """An equivalent graph (up to one rounding of biases) without dead channels; iterated to a fixed point."""
    while (smaller := _shrunk_once(graph)) is not None:
        graph = smaller
    return graph


def _shrunk_once(graph: Graph) -> Graph | None:
    constants = _constants(graph)
    families = _families(graph)
    live: dict[TensorId, NDArray[np.bool_]] = {}
    for operation in graph.operations:
        match operation:
            case Conv() | Linear() if _mixes(operation):
                needed = _needed(operation, constants[operation.input])
                family = families[operation.input]
                live[family] = live.get(family, np.zeros_like(needed)) | needed
            case _:
                pass
    for tensor in _fixed(graph):
        live[families[tensor]] = np.ones(graph.shapes[tensor][0], np.bool_)
    kept = {
        tensor: _rounded(live.get(family, np.zeros(graph.shapes[tensor][0], np.bool_)))
        for tensor, family in enumerate(families)
    }
    if all(len(kept[tensor]) == shape[0] for tensor, shape in enumerate(graph.shapes)):
        return None
    operations = tuple(_cut(operation, kept, constants) for operation in graph.operations)
    shapes: list[Shape] = [graph.shapes[0]]
    for operation in operations:
        shapes.append(output_shape(operation, shapes))
    return replace(graph, operations=operations, shapes=tuple(shapes))


def _keeps_channels(operation: Conv | Linear) -> bool:
    """Whether output channel i depends on input channel i only: a depthwise convolution."""
    return isinstance(operation, Conv) and len(operation.weight) == operation.groups > 1


def _mixes(operation: Conv | Linear) -> bool:
    """Whether every output channel may depend on every input channel."""
    return isinstance(operation, Linear) or operation.groups == 1


def _ties(operation: Operation) -> tuple[TensorId, ...]:
    """The operands whose channels are tied one to one to the output's."""
    match operation:
        case Conv() | Linear() if not _keeps_channels(operation):
            residual = operation.residual if isinstance(operation, Conv) else None
            return () if residual is None else (residual,)
        case _:
            return inputs_of(operation)


def _is_fixed(operation: Operation, shapes: Sequence[Shape]) -> bool:
    """Whether the analysis does not track channels through the operation."""
    match operation:
        case Conv():
            return operation.groups > 1 and not (
                _keeps_channels(operation) and shapes[operation.input][0] == operation.groups
            )
        case Flatten():
            return shapes[operation.output] != shapes[operation.input][:1]
        case Linear() | MaxPool() | AveragePool() | GlobalAveragePool() | Add() | Scale() | Activate():
            return False
        case ChannelAffine():
            return False
        case _:
            return True


def _fixed(graph: Graph) -> set[TensorId]:
    """Tensors whose channels are all kept."""
    fixed = {0, graph.output}
    for operation in graph.operations:
        if _is_fixed(operation, graph.shapes):
            fixed.update((operation.output, *inputs_of(operation)))
    return fixed


def _families(graph: Graph) -> list[TensorId]:
    """The representative of every tensor's family (union-find)."""
    parent = list(range(len(graph.shapes)))

    def root(tensor: TensorId) -> TensorId:
        while parent[tensor] != tensor:
            tensor = parent[tensor]
        return tensor

    for operation in graph.operations:
        if not _is_fixed(operation, graph.shapes):
            for tensor in _ties(operation):
                parent[root(operation.output)] = root(tensor)
    return [root(tensor) for tensor in range(len(parent))]


def _constants(graph: Graph) -> list[Constants]:
    """Constant propagation: per tensor and channel, its value if it never varies, else NaN."""
    constants = [np.full(shape[0], np.nan) for shape in graph.shapes]
    for operation in graph.operations:
        if not _is_fixed(operation, graph.shapes):
            with np.errstate(invalid="ignore"):
                constants[operation.output] = _constant(operation, constants)
    return constants


def _constant(operation: Operation, known: Sequence[Constants]) -> Constants:  # noqa: PLR0911 - one case each
    match operation:
        case Conv() | Linear():
            total = _mixed(operation, known[operation.input]) + operation.bias
            if isinstance(operation, Conv) and operation.residual is not None:
                total = total + known[operation.residual]
            return activate(total, operation.activation)
        case AveragePool() if operation.count_padding and any(operation.padding):
            return np.where(known[operation.input] == 0, 0.0, np.nan)
        case Add():
            return activate(known[operation.left] + known[operation.right], operation.activation)
        case Scale():
            value, factor = known[operation.input], known[operation.factor]
            return np.where(value == 0, 0.0, value * factor)
        case Activate():
            return activate(known[operation.input], operation.activation)
        case ChannelAffine():
            values = known[operation.input] * operation.scale + operation.shift
            return activate(np.where(operation.scale == 0, operation.shift, values), operation.activation)
        case MaxPool() | AveragePool() | GlobalAveragePool() | Flatten():
            return known[operation.input]
        case _:
            raise AssertionError(operation)


def _foldable(operation: Conv | Linear, inputs: Constants) -> NDArray[np.bool_]:
    """Input channels that are constant over the receptive field; zero padding admits only zeros."""
    padded = isinstance(operation, Conv) and any(operation.padding)
    return inputs == 0 if padded else ~np.isnan(inputs)


def _taps(operation: Conv | Linear) -> NDArray[np.float64]:
    """[O, I / groups]: the sum of the kernel's weights for each input channel."""
    weight = operation.weight.astype(np.float64)
    return np.asarray(weight.reshape(*weight.shape[:2], -1).sum(axis=2))


def _reads(operation: Conv | Linear) -> NDArray[np.bool_]:
    """[O, I / groups]: whether any of the kernel's weights for the input channel is non-zero."""
    weight = operation.weight
    return np.asarray((weight != 0).reshape(*weight.shape[:2], -1).any(axis=2))


def _mixed(operation: Conv | Linear, inputs: Constants) -> Constants:
    """The constant pre-bias sum of each output channel, NaN where it varies."""
    foldable, reads, taps = _foldable(operation, inputs), _reads(operation), _taps(operation)
    values = np.where(foldable, inputs, 0)
    if _keeps_channels(operation):
        return np.where(foldable | ~reads[:, 0], values * taps[:, 0], np.nan)
    varies = (reads & ~foldable).any(axis=1)
    return np.where(varies, np.nan, taps @ values)


def _needed(operation: Conv | Linear, inputs: Constants) -> NDArray[np.bool_]:
    """Input channels the layer depends on."""
    return _reads(operation).any(axis=0) & ~_foldable(operation, inputs)


def _rounded(live: NDArray[np.bool_]) -> Kept:
    """Indices of the live channels, and of dead ones to round the count up to a multiple of `WIDTH`."""
    order = np.argsort(~live, kind="stable")
    width = max(1, -(-int(live.sum()) // WIDTH)) * WIDTH
    return np.sort(order[: min(width, len(live))])


def _cut(operation: Operation, kept: Mapping[TensorId, Kept], constants: Sequence[Constants]) -> Operation:
    """The operation on the remaining channels."""
    match operation:
        case Conv() | Linear() if _mixes(operation):
            source, outputs = kept[operation.input], kept[operation.output]
            gone = np.delete(np.arange(operation.weight.shape[1]), source)
            values = np.nan_to_num(constants[operation.input][gone])
            bias = (operation.bias + _taps(operation)[:, gone] @ values).astype(np.float32)
            weight = np.ascontiguousarray(operation.weight[outputs][:, source])
            return replace(operation, weight=weight, bias=bias[outputs])
        case Conv() if _keeps_channels(operation):
            outputs = kept[operation.output]
            weight, bias = operation.weight[outputs], operation.bias[outputs]
            return replace(operation, weight=weight, bias=bias, groups=len(outputs))
        case ChannelAffine():
            outputs = kept[operation.output]
            return replace(operation, scale=operation.scale[outputs], shift=operation.shift[outputs])
        case _:
            return operation
