"""Post-training quantisation of a lowered graph: which tensors are int8, and with which scales.

Activations are uint8 per tensor (scale and zero point), weights int8 per output channel (scale alone). A map
(C, H, W) of more than one pixel is quantised; what follows global pooling or flattening stays float32, and so
does the answer. Operations that only select values (pooling, slicing, padding) keep their input's scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering.graph import (
    Activation,
    Add,
    AveragePool,
    Conv,
    Graph,
    MaxPool,
    Pad,
    Slice,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from downshift.runtime.lowering.graph import FloatArray, Operation, Shape, TensorId

    Ranges = Mapping[str, tuple[float, float]]

LEVELS = 255
WEIGHT_LEVELS = 127
SELECTING = MaxPool | AveragePool | Slice | Pad
"""Operations whose results lie in their input's range."""


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


@dataclass(frozen=True)
class Quantization:
    """A graph whose residual additions are operations of their own, and the quantised tensors' scales."""

    graph: Graph
    affine: Mapping[TensorId, Affine]

    def is_quantized(self, operation: Operation) -> bool:
        """Whether a layer computes with integers; linear layers stay float32."""
        return isinstance(operation, Conv) and operation.input in self.affine


def quantize(graph: Graph, ranges: Ranges) -> Quantization:
    """The quantisation of `graph` with activation ranges by tensor name, each (low, high).

    Raises `UnsupportedModel` when the ranges do not cover the graph.
    """
    graph = without_residuals(graph)
    affine: dict[TensorId, Affine] = {}
    for tensor, source in _sources(graph).items():
        name = graph.names[source]
        if name not in ranges:
            raise UnsupportedModel(f"no activation range for tensor {name!r}: run `downshift quantize` again")
        affine[tensor] = affine_of(*ranges[name])
    return Quantization(graph, affine)


def calibrated(graph: Graph) -> tuple[TensorId, ...]:
    """The tensors of a graph without residuals whose ranges must be measured."""
    return tuple(dict.fromkeys(_sources(graph).values()))


def affine_of(low: float, high: float) -> Affine:
    """Scale and zero point that cover [low, high] and represent 0 exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / LEVELS))
    if not scale > 0.0:
        return Affine(1.0, 0)
    return Affine(scale, round(-low / scale))


def quantized_weight(weight: FloatArray) -> QuantizedWeight:
    """The nearest int8 weight, symmetric, with one scale for each output channel (axis 0)."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1).astype(np.float64)
    scale = np.where(largest > 0, largest / WEIGHT_LEVELS, 1.0).astype(np.float32)
    shape = (-1, *(1,) * (weight.ndim - 1))
    values = np.rint(weight.astype(np.float64) / scale.reshape(shape).astype(np.float64))
    return QuantizedWeight(np.clip(values, -WEIGHT_LEVELS, WEIGHT_LEVELS).astype(np.int8), scale)


def without_residuals(graph: Graph) -> Graph:
    """The same function with every residual addition as an `Add`; raises `UnsupportedModel` without names.

    The convolution's sum becomes a tensor of its own, named `<name>#sum`.
    """
    if not graph.names:
        raise UnsupportedModel("a graph without value names cannot be quantised: lower it from ONNX")
    shapes, names = list(graph.shapes), list(graph.names)
    operations: list[Operation] = []
    for operation in graph.operations:
        if not isinstance(operation, Conv) or operation.residual is None:
            operations.append(operation)
            continue
        total = len(shapes)
        shapes.append(graph.shapes[operation.output])
        names.append(f"{graph.names[operation.output]}#sum")
        conv = replace(operation, output=total, residual=None, activation=Activation.NONE)
        operations += [conv, Add(operation.output, total, operation.residual, operation.activation)]
    return Graph(tuple(operations), tuple(shapes), graph.output, tuple(names))


def _sources(graph: Graph) -> dict[TensorId, TensorId]:
    """Every quantised tensor, and the one whose range it has."""
    found: dict[TensorId, TensorId] = {0: 0} if _is_map(graph.shapes[0]) else {}
    for operation in graph.operations:
        tensor = operation.output
        if tensor == graph.output:
            continue
        if isinstance(operation, SELECTING):
            if operation.input in found:
                found[tensor] = found[operation.input]
        elif _is_map(graph.shapes[tensor]):
            found[tensor] = tensor
    return found


def _is_map(shape: Shape) -> bool:
    return len(shape) > 1 and math.prod(shape[1:]) > 1
