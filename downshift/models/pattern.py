"""Where zeros may fall: the closed union of sparsity patterns.

Each pattern says everything that others ask about it: its text form, which layers it fits, what it removes
and whether a mask obeys it. A new pattern is a class here, its place in the union `Pattern`, and its case in
`downshift.trainer.masks.rules.rule_of`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self, get_args

import numpy as np

from downshift.models.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LARGEST_GROUP = 64


class Defaults:
    """What holds for a pattern that says nothing else.

    removes_channels: dense engines run its sub-nets on fewer channels. sparsity: the fraction that the
    pattern itself removes; None where a recipe gives it.
    """

    removes_channels: ClassVar[bool] = False

    @property
    def sparsity(self) -> float | None:
        """Fraction of weights that the pattern alone removes; None where it is chosen beside the pattern."""
        return None

    def name(self, sparsity: float) -> str:
        """The name of a sub-net: `s90` for 0.90, `s995` for 0.995, the decimals of its sparsity."""
        digits = f"{sparsity:.4f}"[2:].rstrip("0")
        return f"s{digits:0<2}"

    def fits(self, shape: Sequence[int], groups: int) -> bool:  # noqa: ARG002 - of one layer
        """Whether a layer whose weight is [O, I / groups, ...kernel] can have it; else it stays dense."""
        return True

    def holds(self, mask: NDArray[np.bool_]) -> bool:  # noqa: ARG002
        """Whether a layer's mask [O, I, ...kernel] obeys the pattern."""
        return True


@dataclass(frozen=True)
class Unstructured(Defaults):
    """Any single weight may be zero: a block of one weight."""

    rows: ClassVar[int] = 1
    columns: ClassVar[int] = 1

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The pattern written `unstructured`."""
        return cls() if text == "unstructured" else None

    def __str__(self) -> str:
        return "unstructured"


@dataclass(frozen=True)
class NByM(Defaults):
    """At most `n` of `m` consecutive weights along the input channels are non-zero."""

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 0 < self.n < self.m <= LARGEST_GROUP:
            raise SpecError(f"pattern {self}: N:M needs 0 < N < M <= {LARGEST_GROUP}, as in 2:4")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The pattern written `2:4`; raises `SpecError` for impossible figures."""
        match = re.fullmatch(r"(\d{1,3}):(\d{1,3})", text)
        return cls(int(match[1]), int(match[2])) if match else None

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def sparsity(self) -> float:
        """Fraction of weights the pattern removes from every full group."""
        return 1.0 - self.n / self.m

    def name(self, sparsity: float) -> str:  # noqa: ARG002 - the pattern fixes it
        """The name of a sub-net, such as `n2m4`."""
        return f"n{self.n}m{self.m}"

    def holds(self, mask: NDArray[np.bool_]) -> bool:
        """Whether every group of `m` input channels keeps at most `n`."""
        starts = range(0, mask.shape[1], self.m)
        return all(bool((mask[:, at : at + self.m].sum(axis=1) <= self.n).all()) for at in starts)


@dataclass(frozen=True)
class Channel(Defaults):
    """Whole input and output channels are removed together.

    multiple: a layer keeps a multiple of so many channels, what vector registers and tensor cores compute at
    once; fewer would be padded to that.
    """

    multiple: ClassVar[int] = 16
    removes_channels: ClassVar[bool] = True

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The pattern written `channel`."""
        return cls() if text == "channel" else None

    def __str__(self) -> str:
        return "channel"

    def holds(self, mask: NDArray[np.bool_]) -> bool:
        """Whether a weight is kept exactly where both of its channels are."""
        flat = mask.reshape(*mask.shape[:2], -1)
        outputs, inputs = np.asarray(flat.any(axis=(1, 2))), np.asarray(flat.any(axis=(0, 2)))
        return bool((flat == (outputs[:, None] & inputs)[:, :, None]).all())


@dataclass(frozen=True)
class Block(Defaults):
    """Weights live or die in blocks: `rows` consecutive output channels by `columns` input channels.

    A convolution has such blocks at each position of its kernel. Where a layer's channels are no multiple,
    the last blocks are smaller; kernels pad them with zeros. In a grouped convolution a block lies within one
    group; where it cannot, as in a depthwise layer, the layer stays dense.
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        sides = self.rows, self.columns
        if not all(0 < side <= LARGEST_GROUP for side in sides) or sides == (1, 1):
            raise SpecError(
                f"pattern {self}: a block has 1 to {LARGEST_GROUP} rows and columns, and more than one weight"
            )

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The pattern written `block 4x1`; raises `SpecError` for impossible figures."""
        match = re.fullmatch(r"block (\d{1,3})x(\d{1,3})", text)
        return cls(int(match[1]), int(match[2])) if match else None

    def __str__(self) -> str:
        return f"block {self.rows}x{self.columns}"

    def fits(self, shape: Sequence[int], groups: int) -> bool:
        """Whether no block would cross the groups of a grouped convolution."""
        outputs, inputs = shape[0] // groups, shape[1]
        return groups == 1 or (outputs % self.rows == 0 and inputs % self.columns == 0)

    def holds(self, mask: NDArray[np.bool_]) -> bool:
        """Whether every block is kept or removed as a whole."""
        first = mask[:: self.rows, :: self.columns]
        whole = first.repeat(self.rows, axis=0).repeat(self.columns, axis=1)
        return bool((mask == whole[: mask.shape[0], : mask.shape[1]]).all())


Pattern = Unstructured | NByM | Channel | Block


def parse_pattern(text: str) -> Pattern:
    """The pattern written as `unstructured`, `channel`, `N:M` or `block RxC`; raises `SpecError`."""
    for kind in get_args(Pattern):
        found: Pattern | None = kind.parse(text)
        if found is not None:
            return found
    raise SpecError(
        f"pattern {text!r}: write 'unstructured', 'channel', N:M such as '2:4' or a block such as 'block 4x1'"
    )
