"""The operations of the int8 kernels: a closed union on numbered tensors, in their exact arithmetic.

A quantised map holds bytes (C, H, W) with a zero point; a vector holds float32 (C,). What is written to a map
is saturate_u8(round_half_even(.)) of a chain of fused multiply-adds in float32 on exact integers: all
instruction sets give the same bits. ReLU is the saturation at zero point 0. `lowering.integer` writes this
graph, `lowering.integer_reference` and `runtime/kernels/int8` run it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from downshift.runtime.lowering.graph import Activation, FloatArray, Padding, Stride
    from downshift.runtime.lowering.quantize import Affine


@dataclass(frozen=True, eq=False, kw_only=True)
class IntegerConv:
    """fma(residual, residual_scale, fma(sum, scale, bias)), all zero points folded into the bias.

    weight: int8 [O, I / groups, kH, kW]; scale, bias: float32 [O]; zero: the output's zero point. The halo
    holds the input's zero point. Without a residual the inner fma is the result.
    """

    output: int
    input: int
    weight: NDArray[np.int8]
    scale: FloatArray
    bias: FloatArray
    stride: Stride
    padding: Padding
    zero: int
    residual: int | None
    residual_scale: float
    groups: int = 1


@dataclass(frozen=True, kw_only=True)
class IntegerMaxPool:
    """Largest byte of every window; the halo never wins."""

    output: int
    input: int
    kernel: tuple[int, int]
    stride: Stride
    padding: Padding


@dataclass(frozen=True, kw_only=True)
class IntegerAveragePool:
    """sum of a window * (1 / its pixels), in the input's scale and zero point.

    `count_padding`: pixels of the halo count and hold the zero point; otherwise they do not count.
    """

    output: int
    input: int
    kernel: tuple[int, int]
    stride: Stride
    padding: Padding
    count_padding: bool


@dataclass(frozen=True, kw_only=True)
class IntegerMean:
    """fma(sum of a channel, scale, bias): a map (C, 1, 1)."""

    output: int
    input: int
    scale: float
    bias: float
    zero: int


@dataclass(frozen=True, kw_only=True)
class IntegerAdd:
    """fma(right, right_scale, fma(left, left_scale, bias))."""

    output: int
    left: int
    right: int
    left_scale: float
    right_scale: float
    bias: float
    zero: int


@dataclass(frozen=True, eq=False, kw_only=True)
class IntegerAffine:
    """fma(value, scale, bias) with a scale and a bias for each channel, float32 [C]."""

    output: int
    input: int
    scale: FloatArray
    bias: FloatArray
    zero: int


@dataclass(frozen=True, kw_only=True)
class IntegerScale:
    """fma(value, s, fma(-input's zero point, s, zero)), s = (factor - its zero point) * scale.

    The factor is a map (C, 1, 1), as in squeeze-and-excitation.
    """

    output: int
    input: int
    factor: int
    scale: float
    zero: int


@dataclass(frozen=True, eq=False, kw_only=True)
class IntegerTable:
    """table[value]: any function of one value; table: uint8 [256]."""

    output: int
    input: int
    table: NDArray[np.uint8]
    zero: int


@dataclass(frozen=True, kw_only=True)
class IntegerTake:
    """The value at start + step * index along (C, H, W), `size` of each; the zero point outside the input."""

    output: int
    input: int
    start: tuple[int, int, int]
    step: tuple[int, int, int]
    size: tuple[int, int, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class IntegerConcat:
    """table[value] of each input, one after another along the channels; tables: uint8 [inputs, 256]."""

    output: int
    inputs: tuple[int, ...]
    tables: NDArray[np.uint8]
    zero: int


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Mean of every channel as float32: (sum - pixels * zero) * scale."""

    output: int
    input: int
    scale: float


@dataclass(frozen=True, kw_only=True)
class Dequantize:
    """All values as float32, channel by channel: (value - zero) * scale."""

    output: int
    input: int
    scale: float


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatLinear:
    """weight: float32 [O, C]; bias: float32 [O]."""

    output: int
    input: int
    weight: FloatArray
    bias: FloatArray
    relu: bool


@dataclass(frozen=True, kw_only=True)
class FloatActivate:
    """An activation of a vector."""

    output: int
    input: int
    activation: Activation


IntegerOperation = (
    IntegerConv
    | IntegerMaxPool
    | IntegerAveragePool
    | IntegerMean
    | IntegerAdd
    | IntegerAffine
    | IntegerScale
    | IntegerTable
    | IntegerTake
    | IntegerConcat
    | Mean
    | Dequantize
    | FloatLinear
    | FloatActivate
)


@dataclass(frozen=True)
class IntegerGraph:
    """Operations on tensors numbered in the order in which they are written; tensor 0 is the input.

    zeros: the zero point of every tensor; 0 for vectors of floats.
    """

    input_shape: tuple[int, ...]
    input: Affine
    operations: tuple[IntegerOperation, ...]
    zeros: tuple[int, ...]
