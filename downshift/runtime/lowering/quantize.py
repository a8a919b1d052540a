"""Post-training quantisation of a lowered graph: which tensors are int8, and with which scales.

Activations are uint8 per tensor (scale and zero point), weights int8 per output channel (scale alone). Every
map (C, H, W) is quantised; vectors stay float32, and so do global averages that are only flattened, and the
answer. Operations that only select values (pooling, slicing, padding) keep their input's scale.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering.graph import (
    Activate,
    Activation,
    Add,
    AveragePool,
    ChannelAffine,
    Conv,
    Flatten,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Pad,
    Slice,
    inputs_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from downshift.runtime.lowering.graph import FloatArray, Operation, Shape, TensorId

    Ranges = Mapping[str, tuple[float, float]]

LEVELS = 255
WEIGHT_LEVELS = 127
LARGEST_BIAS = 1 << 30
"""Of a bias in units of its products: it is stored as int32 and must not reach its ends."""
SELECTING = MaxPool | AveragePool | Slice | Pad
"""Operations whose results lie in their input's range."""
SATURATING: Mapping[Activation, tuple[float, float]] = {
    Activation.NONE: (-math.inf, math.inf),
    Activation.RELU: (0.0, math.inf),
    Activation.RELU6: (0.0, 6.0),
}
"""Activations that are limits, and so the saturation of a result whose range keeps to them."""


@dataclass(frozen=True)
class Affine:
    """Real value = scale * (quantised value - zero); quantised values are 0 to 255."""

    scale: float
    zero: int


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """int8 values in [-127, 127] in the shape of the weight; real = value * scale of the output channel."""

    values: NDArray[np.int8]
    scale: FloatArray


@dataclass(frozen=True, eq=False)
class QuantizedBias:
    """int32 values and the float32 scale of each output channel: input scale times weight scale."""

    values: NDArray[np.int32]
    scale: FloatArray


@dataclass(frozen=True)
class Quantization:
    """A graph in which activations that are no limits are operations, and the quantised tensors' scales."""

    graph: Graph
    affine: Mapping[TensorId, Affine]

    def is_quantized(self, operation: Operation) -> bool:
        """Whether a layer computes with integers; linear layers stay float32."""
        return isinstance(operation, Conv) and operation.input in self.affine

    def weight(self, conv: Conv) -> QuantizedWeight:
        """The weight of a quantised convolution, with scales that let its bias fit 32 bits."""
        products = np.abs(conv.bias.astype(np.float64)) / self.affine[conv.input].scale
        return quantized_weight(conv.weight, products / LARGEST_BIAS)

    def bias(self, conv: Conv) -> QuantizedBias:
        """The bias of a quantised convolution in units of its products."""
        scale = (self.weight(conv).scale.astype(np.float64) * self.affine[conv.input].scale).astype(
            np.float32
        )
        return QuantizedBias(np.rint(conv.bias / scale.astype(np.float64)).astype(np.int32), scale)


def quantize(graph: Graph, ranges: Ranges, *, fused: bool = False) -> Quantization:
    """The quantisation of `graph` with activation ranges by tensor name, each (low, high).

    fused: residual additions stay in their convolutions, as the int8 kernels compute them; other engines
    round a convolution's own sum first. Raises `UnsupportedModel` when the ranges do not cover the graph.
    """
    graph = without_curves(graph) if fused else spelled_out(graph)
    made = {operation.output: operation for operation in graph.operations}
    affine: dict[TensorId, Affine] = {}
    for tensor, source in _sources(graph).items():
        name = graph.names[source]
        if name not in ranges:
            raise UnsupportedModel(f"no activation range for tensor {name!r}: run `downshift quantize` again")
        if not all(map(math.isfinite, ranges[name])) or (tensor == 0 and ranges[name] == (0.0, 0.0)):
            raise UnsupportedModel(
                f"activation range {ranges[name]} of {name!r}: run `downshift quantize` again"
            )
        kind = getattr(made.get(source), "activation", Activation.NONE)
        least, most = SATURATING.get(kind, SATURATING[Activation.NONE])
        low, high = ranges[name]
        affine[tensor] = affine_of(max(low, least), min(high, most))
    return Quantization(graph, affine)


def calibrated(graph: Graph) -> tuple[TensorId, ...]:
    """The tensors of a `spelled_out` graph whose ranges must be measured."""
    return tuple(dict.fromkeys(_sources(graph).values()))


def affine_of(low: float, high: float) -> Affine:
    """Scale and zero point that cover [low, high] and represent 0 exactly; (1, 0) for a tensor of zeros."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / LEVELS))
    if scale < np.finfo(np.float32).tiny:
        return Affine(1.0, 0)
    return Affine(scale, round(-low / scale))


def quantized_weight(weight: FloatArray, least: NDArray[np.float64] | float = 0.0) -> QuantizedWeight:
    """The nearest int8 weight, symmetric; a scale of at least `least` for each output channel (axis 0)."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1).astype(np.float64)
    scale = np.maximum(largest / WEIGHT_LEVELS, least)
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    shape = (-1, *(1,) * (weight.ndim - 1))
    values = np.rint(weight.astype(np.float64) / scale.reshape(shape).astype(np.float64))
    return QuantizedWeight(np.clip(values, -WEIGHT_LEVELS, WEIGHT_LEVELS).astype(np.int8), scale)


def spelled_out(graph: Graph) -> Graph:
    """The same function with every residual addition as an `Add` and every curve as an `Activate`.

    Calibration measures this graph. Raises `UnsupportedModel` without names. A convolution's sum becomes a
    tensor of its own, named `<name>#sum`; what a curve reads is `<name>#linear`.
    """
    parts = _Parts(without_curves(graph))
    for operation in parts.source.operations:
        if not isinstance(operation, Conv) or operation.residual is None:
            parts.operations.append(operation)
            continue
        total = parts.tensor(operation.output, "sum")
        conv = replace(operation, output=total, residual=None, activation=Activation.NONE)
        parts.operations += [conv, Add(operation.output, total, operation.residual, operation.activation)]
    return parts.graph()


def without_curves(graph: Graph) -> Graph:
    """The same function with every activation of a map that is no limit (SiLU, ...) as an `Activate`."""
    parts = _Parts(graph)
    for operation in graph.operations:
        match operation:
            case Conv() | Add() | ChannelAffine() if (
                operation.activation not in SATURATING and len(graph.shapes[operation.output]) > 1
            ):
                linear = parts.tensor(operation.output, "linear")
                parts.operations += [
                    replace(operation, output=linear, activation=Activation.NONE),
                    Activate(operation.output, linear, operation.activation),
                ]
            case _:
                parts.operations.append(operation)
    return parts.graph()


class _Parts:
    """A graph that is being taken apart: new tensors have a name that says what they were part of."""

    def __init__(self, graph: Graph) -> None:
        if not graph.names:
            raise UnsupportedModel("a graph without value names cannot be quantised: lower it from ONNX")
        self.source = graph
        self.operations: list[Operation] = []
        self._shapes, self._names = list(graph.shapes), list(graph.names)

    def tensor(self, whole: TensorId, part: str) -> TensorId:
        self._shapes.append(self.source.shapes[whole])
        self._names.append(f"{self.source.names[whole]}#{part}")
        return len(self._shapes) - 1

    def graph(self) -> Graph:
        return Graph(tuple(self.operations), tuple(self._shapes), self.source.output, tuple(self._names))


def _sources(graph: Graph) -> dict[TensorId, TensorId]:
    """Every quantised tensor, and the one whose range it has."""
    readers: dict[TensorId, list[Operation]] = defaultdict(list)
    for operation in graph.operations:
        for tensor in inputs_of(operation):
            readers[tensor].append(operation)
    found: dict[TensorId, TensorId] = {0: 0} if _is_map(graph.shapes[0]) else {}
    for operation in graph.operations:
        tensor = operation.output
        if tensor == graph.output or not _is_map(graph.shapes[tensor]):
            continue
        if isinstance(operation, SELECTING):
            if operation.input in found:
                found[tensor] = found[operation.input]
        elif not isinstance(operation, GlobalAveragePool) or not all(
            isinstance(reader, Flatten) for reader in readers[tensor]
        ):
            found[tensor] = tensor
    return found


def _is_map(shape: Shape) -> bool:
    return len(shape) > 1
