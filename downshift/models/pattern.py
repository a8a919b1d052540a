"""Where zeros may fall: the closed union of sparsity patterns and its text form."""

from __future__ import annotations

import re
from dataclasses import dataclass

from downshift.models.errors import SpecError

LARGEST_GROUP = 64


@dataclass(frozen=True)
class Unstructured:
    """Any single weight may be zero."""

    def __str__(self) -> str:
        return "unstructured"


@dataclass(frozen=True)
class NByM:
    """At most `n` of `m` consecutive weights along the input channels are non-zero."""

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 0 < self.n < self.m <= LARGEST_GROUP:
            raise SpecError(f"pattern {self}: N:M needs 0 < N < M <= {LARGEST_GROUP}, as in 2:4")

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def sparsity(self) -> float:
        """Fraction of weights the pattern removes from every full group."""
        return 1.0 - self.n / self.m


@dataclass(frozen=True)
class Channel:
    """Whole output channels are removed together."""

    def __str__(self) -> str:
        return "channel"


@dataclass(frozen=True)
class Block:
    """Weights live or die in blocks: `rows` consecutive output channels by `columns` input channels.

    A convolution has such blocks at each position of its kernel. Where a layer's channels are no multiple,
    the last blocks are smaller.
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        sides = self.rows, self.columns
        if not all(0 < side <= LARGEST_GROUP for side in sides) or sides == (1, 1):
            raise SpecError(
                f"pattern {self}: a block has 1 to {LARGEST_GROUP} rows and columns, and more than one weight"
            )

    def __str__(self) -> str:
        return f"block {self.rows}x{self.columns}"


Pattern = Unstructured | NByM | Channel | Block


def parse_pattern(text: str) -> Pattern:
    """The pattern written as `unstructured`, `channel`, `N:M` or `block RxC`; raises `SpecError`."""
    if text == "unstructured":
        return Unstructured()
    if text == "channel":
        return Channel()
    if match := re.fullmatch(r"(\d{1,3}):(\d{1,3})", text):
        return NByM(int(match[1]), int(match[2]))
    if match := re.fullmatch(r"block (\d{1,3})x(\d{1,3})", text):
        return Block(int(match[1]), int(match[2]))
    raise SpecError(
        f"pattern {text!r}: write 'unstructured', 'channel', N:M such as '2:4' or a block such as 'block 4x1'"
    )
