"""Errors of the `models` package.

ModelsError
├── SpecError          a value that no network, pattern or manifest can have
├── UnknownName        a network, layer or sub-net that does not exist
└── ArtifactError      an artifact file that is missing, truncated, corrupted or hostile
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from downshift.errors import DownshiftError

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = 40  # names listed in one message


class ModelsError(DownshiftError):
    """Base of every error this package raises; the text names the value and the remedy."""


class SpecError(ModelsError, ValueError):
    """A value outside what the field it was given for can hold."""


class UnknownName(ModelsError, KeyError):  # noqa: N818 - it says what is wrong with the name
    """A name that is not among those that exist; the text lists what does."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = list(known)
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        self.message = f"unknown {kind} {name!r}: {hint}choose one of {shown}"
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class ArtifactError(ModelsError):
    """An artifact that cannot be trusted; `field` names the part that is wrong, `file` where it was read."""

    def __init__(self, field: str, problem: str, file: str = "") -> None:
        self.field, self.problem = field, problem
        super().__init__(f"{file}: artifact {field}: {problem}" if file else f"artifact {field}: {problem}")
