"""Where zeros may fall: the closed union of sparsity patterns and its text form."""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.errors import SpecError

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


Pattern = Unstructured | NByM | Channel


def parse_pattern(text: str) -> Pattern:
    """The pattern written as `unstructured`, `channel` or `N:M`; raises `SpecError`."""
    if text == "unstructured":
        return Unstructured()
    if text == "channel":
        return Channel()
    if match := re.fullmatch(r"(\d{1,3}):(\d{1,3})", text):
        return NByM(int(match[1]), int(match[2]))
    raise SpecError(f"pattern {text!r}: write 'unstructured', 'channel' or N:M such as '2:4'")
