"""The intermediate representation the sparse kernels execute: a closed union of operations, in SSA form.

Shapes are per example, (C, H, W) or (C,); the batch dimension is implicit. Tensor 0 is the input; every
operation writes one new tensor; operations are in topological order. BatchNorm, residual additions and
activations are fused into convolutions where possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

Shape = tuple[int, ...]
TensorId = int


class Activation(Enum):
    """Activation functions that kernels fuse into their epilogue."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"
    SILU = "silu"
    HARD_SWISH = "hard_swish"
    HARD_SIGMOID = "hard_sigmoid"
    SIGMOID = "sigmoid"


class Stride(NamedTuple):
    """Stride of a window, in pixels."""

    height: int
    width: int


class Padding(NamedTuple):
    """Zeros (minus infinity for a maximum) around a map, in pixels."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True, eq=False)
class Conv:
    """activation(convolution + bias + residual); the residual has the output's shape.

    weight: float32 [O, I / groups, kH, kW], C-contiguous; bias: float32 [O]. Depthwise is groups == I.
    """

    output: TensorId
    input: TensorId
    weight: FloatArray
    bias: FloatArray
    stride: Stride
    padding: Padding
    groups: int = 1
    activation: Activation = Activation.NONE
    residual: TensorId | None = None
    name: str = ""


@dataclass(frozen=True, eq=False)
class Linear:
    """activation(weight @ input + bias) on a (C,) tensor; weight: float32 [O, C], bias: float32 [O]."""

    output: TensorId
    input: TensorId
    weight: FloatArray
    bias: FloatArray
    activation: Activation = Activation.NONE
    name: str = ""


@dataclass(frozen=True)
class MaxPool:
    """Max pooling; padding is minus infinity, and every window holds at least one pixel of the map."""

    output: TensorId
    input: TensorId
    kernel: tuple[int, int]
    stride: Stride
    padding: Padding


@dataclass(frozen=True)
class AveragePool:
    """Average pooling; `count_padding` divides by the window size, otherwise by the pixels inside the map."""

    output: TensorId
    input: TensorId
    kernel: tuple[int, int]
    stride: Stride
    padding: Padding
    count_padding: bool


@dataclass(frozen=True)
class GlobalAveragePool:
    """Global average pooling: (C, H, W) to (C, 1, 1)."""

    output: TensorId
    input: TensorId


@dataclass(frozen=True)
class Add:
    """activation(left + right), equal shapes."""

    output: TensorId
    left: TensorId
    right: TensorId
    activation: Activation = Activation.NONE


@dataclass(frozen=True)
class Scale:
    """input (C, H, W) times factor (C, 1, 1), as in squeeze-and-excitation."""

    output: TensorId
    input: TensorId
    factor: TensorId


@dataclass(frozen=True)
class Activate:
    """An activation that could not be fused into its producer."""

    output: TensorId
    input: TensorId
    activation: Activation


@dataclass(frozen=True, eq=False)
class ChannelAffine:
    """activation(input * scale + shift) per channel: a BatchNorm that could not be folded."""

    output: TensorId
    input: TensorId
    scale: FloatArray
    shift: FloatArray
    activation: Activation = Activation.NONE


@dataclass(frozen=True)
class Pad:
    """Zero padding of (C, H, W): `before` and `after` along each axis."""

    output: TensorId
    input: TensorId
    before: tuple[int, int, int]
    after: tuple[int, int, int]


@dataclass(frozen=True)
class Slice:
    """`size` elements from `start` with stride `step` >= 1, along each axis of (C, H, W)."""

    output: TensorId
    input: TensorId
    start: tuple[int, int, int]
    step: tuple[int, int, int]
    size: tuple[int, int, int]


@dataclass(frozen=True)
class Concat:
    """Concatenation of (C, H, W) tensors along the channels."""

    output: TensorId
    inputs: tuple[TensorId, ...]


@dataclass(frozen=True)
class Flatten:
    """(C, H, W) to (C * H * W,), row-major."""

    output: TensorId
    input: TensorId


Operation = (
    Conv
    | Linear
    | MaxPool
    | AveragePool
    | GlobalAveragePool
    | Add
    | Scale
    | Activate
    | ChannelAffine
    | Pad
    | Slice
    | Concat
    | Flatten
)


def inputs_of(operation: Operation) -> tuple[TensorId, ...]:
    """The operands of an operation; a residual comes last."""
    match operation:
        case Conv(residual=int() as residual):
            return operation.input, residual
        case Add():
            return operation.left, operation.right
        case Scale():
            return operation.input, operation.factor
        case Concat():
            return operation.inputs
        case _:
            return (operation.input,)


@dataclass(frozen=True)
class Graph:
    """Operations in topological order, and the per-example shape of every tensor by its number.

    Tensor 0 is the input (C, H, W); tensor `output` holds the logits, (classes,). names: names of the tensors
    in the ONNX model, in the order of `shapes`; empty for a graph built by hand.
    """

    operations: tuple[Operation, ...]
    shapes: tuple[Shape, ...]
    output: TensorId
    names: tuple[str, ...] = ()

    @property
    def weights(self) -> int:
        """Number of weights in convolutions and linear layers, zeros included."""
        return sum(op.weight.size for op in self.operations if isinstance(op, Conv | Linear))
