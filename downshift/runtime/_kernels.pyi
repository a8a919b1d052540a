"""
The compiled kernels (downshift/runtime/kernels): describe a `Network`, compile a `Program`, run it.

Invalid descriptions raise ValueError; arrays of the wrong type, rank or order raise TypeError.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy
from numpy.typing import NDArray


class ConvKernel:
    """A convolution kernel of an instruction set."""

    @property
    def vectors(self) -> int:
        """Output vectors of a tile."""

    @property
    def columns(self) -> str:
        """How kernel columns move sideways."""

    @property
    def rows(self) -> int:
        """Output channels that share the positions of their nonzeros."""

class StepTime:
    """A step of a program and its best time."""

    @property
    def step(self) -> str:
        """What it does."""

    @property
    def seconds(self) -> float: ...

class Tiling:
    """How a convolution is cut up; found by measuring. A value."""

    def __init__(self, *, vectors: int, rows: int, block: int, split: bool, parts: int) -> None: ...

    @property
    def vectors(self) -> int:
        """Output vectors of a tile."""

    @property
    def rows(self) -> int:
        """Output channels that share the positions of their nonzeros."""

    @property
    def block(self) -> int:
        """Source planes that stay in the L1 cache together."""

    @property
    def split(self) -> bool:
        """One section for every kernel column."""

    @property
    def parts(self) -> int:
        """Groups of output channels that different threads work through."""

    def __eq__(self, other: object, /) -> bool: ...

    def __hash__(self) -> int: ...

    def __repr__(self) -> str: ...

class Piece:
    """
    A piece of a tensor for `Network.place`: output channel `output_channel + i` at (y, x) is input channel
    `input_channel + i * channel_step` at (y * stride_y + top, x * stride_x + left), for i below `channels`.
    """

    def __init__(self, *, input: int, channels: int, output_channel: int = 0, input_channel: int = 0, channel_step: int = 1, stride_y: int = 1, stride_x: int = 1, top: int = 0, left: int = 0) -> None: ...

def isas() -> list[str]:
    """Instruction sets this machine runs, best first."""

def isa() -> str:
    """
    The instruction set programs are compiled for: DOWNSHIFT_FORCE_ISA, else the best.
    """

def conv_kernels(isa: str) -> list[ConvKernel]:
    """Every convolution kernel of an instruction set."""

class Workers:
    """Threads that run programs; programs which share them take turns."""

    def __init__(self, threads: int) -> None: ...

    @property
    def threads(self) -> int: ...

def int8_isas() -> list[str]:
    """
    Instruction sets of the int8 kernels that this machine runs, best first.
    """

def int8_isa() -> str:
    """
    The instruction set int8 programs are compiled for: DOWNSHIFT_FORCE_ISA, else the best.
    """

def int8_kernels(isa: str) -> list[list[int]]:
    """
    Every int8 convolution kernel of an instruction set: rows, tile height, tile width, stride.
    """

class Int8Network:
    """Quantised operations on numbered tensors; tensor 0 is the input."""

    def __init__(self, input: Sequence[int], scale: float, zero: int) -> None: ...

    def conv(self, *, output: int, input: int, weight: Annotated[NDArray[numpy.int8], dict(shape=(None, None, None, None), order='C', device='cpu', writable=False)], scale: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], stride: Sequence[int], padding: Sequence[int], zero: int, residual: int | None, residual_scale: float, groups: int = 1) -> None:
        """
        Convolution: round(fma(sum, scale, bias) [+ residual * residual_scale]) saturated to a byte.
        """

    def max_pool(self, *, output: int, input: int, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> None: ...

    def average_pool(self, *, output: int, input: int, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], count_padding: bool) -> None:
        """Sum of a window * (1 / its pixels)."""

    def mean_map(self, *, output: int, input: int, scale: float, bias: float, zero: int) -> None:
        """fma(sum of a channel, scale, bias): a map of one pixel."""

    def add(self, *, output: int, left: int, right: int, left_scale: float, right_scale: float, bias: float, zero: int) -> None:
        """fma(right, right_scale, fma(left, left_scale, bias))."""

    def affine(self, *, output: int, input: int, scale: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], zero: int) -> None:
        """fma(value, scale, bias), one scale and bias for each channel."""

    def scale(self, *, output: int, input: int, factor: int, scale: float, zero: int) -> None:
        """A map times a map of one pixel."""

    def lookup(self, *, output: int, input: int, table: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], zero: int) -> None:
        """table[value], 256 bytes."""

    def take(self, *, output: int, input: int, start: Sequence[int], step: Sequence[int], size: Sequence[int]) -> None:
        """
        The value at start + step * index along channels, height and width; the zero point outside.
        """

    def concat(self, *, output: int, inputs: Sequence[int], tables: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], zero: int) -> None:
        """tables[i][value] of each input, channel after channel."""

    def activate(self, *, output: int, input: int, activation: str) -> None:
        """An activation of a vector of floats, by its name."""

    def mean(self, *, output: int, input: int, scale: float) -> None: ...

    def dequantize(self, *, output: int, input: int, scale: float) -> None: ...

    def linear(self, *, output: int, input: int, weight: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], relu: bool) -> None: ...

    def compile(self, workers: Workers, isa: str | None = None, plan: int | None = None) -> Int8Program:
        """
        A program for `isa`. Measuring chooses every convolution's plan and whether threads share an image; `plan` numbers one for all.
        """

class Int8Program:
    """A quantised network compiled for one instruction set and its workers."""

    def run(self, batch: Annotated[NDArray[numpy.float32], dict(shape=(None, None, None, None), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None))]:
        """
        Logits [n, classes] of a batch [n, C, H, W]; releases the GIL; safe from any thread.
        """

    @property
    def stream_bytes(self) -> int: ...

class Network:
    """Operations on numbered tensors; tensor 0 is the input [C, H, W]."""

    def __init__(self, input: Sequence[int]) -> None: ...

    def conv(self, output: int, input: int, weight: Annotated[NDArray[numpy.float32], dict(shape=(None, None, None, None), order='C', device='cpu', writable=False)], bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], *, stride: Sequence[int], padding: Sequence[int], groups: int = 1, activation: str = 'none', residual: int | None = None) -> None:
        """
        activation(convolution + bias + residual); padding is (top, left, bottom, right).
        """

    def linear(self, output: int, input: int, weight: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], *, activation: str = 'none') -> None:
        """activation(weight @ input + bias) of a flat tensor."""

    def pool(self, output: int, input: int, *, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], maximum: bool, count_padding: bool = False) -> None:
        """Maximum or mean over windows."""

    def global_average(self, output: int, input: int) -> None:
        """Mean over height and width."""

    def combine(self, output: int, input: int, *, addend: int | None = None, factor: int | None = None, scale: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, shift: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None = None, activation: str = 'none') -> None:
        """
        activation(input * scale * factor + shift + addend); scale, shift and factor per channel.
        """

    def place(self, output: int, shape: Sequence[int], pieces: Sequence[Piece]) -> None:
        """Zeros of `shape` with pieces of other tensors in it."""

    def flatten(self, output: int, input: int) -> None:
        """(C, H, W) as one row."""

    def finish(self, output: int) -> None:
        """Names the answer, a flat tensor; nothing is added afterwards."""

    def compile(self, workers: Workers, tilings: Sequence[Tiling] = ..., isa: str | None = None) -> Program:
        """
        A program for `isa`, with one tiling for every convolution or with defaults. Releases the GIL.
        """

    def tuning(self, workers: Workers, isa: str | None = None) -> Tuning:
        """
        A search for better tilings on those workers; releases the GIL while it packs.
        """

class Tuning:
    """
    The search for better tilings of a network's convolutions. One thread at a time.
    """

    def advance(self, seconds: float) -> bool:
        """
        Goes on for about that long; False when there is nothing left to try. Releases the GIL.
        """

    @property
    def best(self) -> list[Tiling]:
        """The best tilings so far; feed them to `compile`."""

class Program:
    """A network compiled for one instruction set and its workers."""

    def run(self, batch: Annotated[NDArray[numpy.float32], dict(shape=(None, None, None, None), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None))]:
        """
        Logits [n, classes] of a batch [n, C, H, W]; releases the GIL; safe from any thread.
        """

    @property
    def tilings(self) -> list[Tiling]:
        """One for every convolution, in order."""

    @property
    def stream_bytes(self) -> int:
        """Memory of the packed weights."""

    @property
    def workspace_bytes(self) -> int:
        """Memory of one example's values on their way through."""

    def measure(self, repeats: int) -> list[StepTime]:
        """The best time of each step in `repeats` runs."""
