"""The compiled kernels (downshift/runtime/kernels): describe a `Network`, compile a `Program`, run it.

Invalid descriptions raise ValueError; arrays of the wrong type, rank or order raise TypeError.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Tiling = tuple[int, int, int, bool, int]
"""Vectors of a tile, rows that share positions, planes of a block, columns apart, parts."""

def isas() -> list[str]:
    """Instruction sets this machine runs, best first."""

def isa() -> str:
    """The instruction set programs are compiled for: DOWNSHIFT_FORCE_ISA, else the best."""

def conv_kernels(isa: str) -> list[tuple[int, str, int]]:
    """Every convolution kernel of an instruction set: vectors of a tile, columns, rows."""

Piece = tuple[int, int, int, int, int, int, int, int, int]
"""Input tensor, output channel, channels, input channel, channel step, stride y, stride x, top, left."""

class Workers:
    """Threads that run programs; programs which share them take turns."""

    def __init__(self, threads: int) -> None: ...
    @property
    def threads(self) -> int: ...

class Network:
    """Operations on numbered tensors; tensor 0 is the input [C, H, W]."""

    def __init__(self, input: tuple[int, int, int]) -> None: ...  # noqa: A002
    def conv(
        self,
        output: int,
        input: int,  # noqa: A002
        weight: Floats,
        bias: Floats,
        stride: tuple[int, int],
        padding: tuple[int, int, int, int],
        groups: int,
        activation: str,
        residual: int | None,
    ) -> None:
        """activation(convolution + bias + residual); padding is (top, left, bottom, right)."""

    def linear(self, output: int, input: int, weight: Floats, bias: Floats, activation: str) -> None:  # noqa: A002
        """activation(weight @ input + bias) of a flat tensor."""

    def pool(
        self,
        output: int,
        input: int,  # noqa: A002
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int, int, int],
        maximum: bool,
        count_padding: bool,
    ) -> None:
        """Maximum or mean over windows."""

    def global_average(self, output: int, input: int) -> None:  # noqa: A002
        """Mean over height and width."""

    def combine(
        self,
        output: int,
        input: int,  # noqa: A002
        addend: int | None,
        factor: int | None,
        scale: Floats | None,
        shift: Floats | None,
        activation: str,
    ) -> None:
        """activation(input * scale * factor + shift + addend), scale, shift and factor per channel."""

    def place(self, output: int, shape: tuple[int, int, int], pieces: Sequence[Piece]) -> None:
        """Zeros of `shape` with pieces of other tensors in it."""

    def flatten(self, output: int, input: int) -> None:  # noqa: A002
        """(C, H, W) as one row."""

    def finish(self, output: int) -> None:
        """Names the answer, a flat tensor."""

    def compile(self, workers: Workers, tilings: Sequence[Tiling] = ..., isa: str | None = None) -> Program:
        """A program for `isa`, with one tiling for every convolution or with defaults."""

    def tuning(self, workers: Workers, isa: str | None = None) -> Tuning:
        """A search for better tilings on those workers; releases the GIL while it packs."""

class Tuning:
    """The search for better tilings of a network's convolutions, for one thread at a time."""

    def advance(self, seconds: float) -> bool:
        """Goes on for about that long; False when there is nothing left to try. Releases the GIL."""

    @property
    def best(self) -> list[Tiling]:
        """The best tilings so far; feed them to `compile`."""

class Program:
    """A network compiled for one instruction set and its workers."""

    def run(self, batch: Floats) -> Floats:
        """Logits [n, classes] of a batch [n, C, H, W]; releases the GIL; safe from any thread."""

    @property
    def tilings(self) -> list[Tiling]: ...
    @property
    def stream_bytes(self) -> int:
        """Memory of the packed weights."""

    @property
    def workspace_bytes(self) -> int:
        """Memory of one example's values on their way through."""

    def measure(self, repeats: int) -> list[tuple[str, float]]:
        """Each step and its best seconds of `repeats` runs."""
