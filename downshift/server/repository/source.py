"""Where a model's artifact lies, and the repository folder whose artifacts clients may load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from downshift.server.errors import BadInput, BadSetting

if TYPE_CHECKING:
    from collections.abc import Iterable

SUFFIX = ".onnx"


@dataclass(frozen=True)
class Source:
    """A model's name, which is part of its URL, and the file it is read from."""

    name: str
    path: Path

    def __post_init__(self) -> None:
        if (fault := name_fault(self.name)) is not None:
            raise BadSetting(f"model name {self.name!a} {fault}: use a word, as in digits=model.onnx")


def name_fault(name: str) -> str | None:
    """What keeps that name from standing in URLs, metrics and logs; None for a good one."""
    if any("\ud800" <= character <= "\udfff" for character in name):
        return "is not UTF-8"
    if not name.isprintable():
        return "holds a line break or control character"
    if not name or "/" in name or name in (".", ".."):
        return "is no word"
    return None


def read_sources(texts: Iterable[str | Path]) -> tuple[Source, ...]:
    """A source for each `PATH`, called like the file, or `NAME=PATH`; raises `BadSetting`."""
    sources: dict[str, Source] = {}
    for text in texts:
        source = _source(text)
        if source.name in sources:
            raise BadSetting(
                f"two models are called {source.name!r}: name one of them, as in other={source.path}"
            )
        sources[source.name] = source
    return tuple(sources.values())


def _source(text: str | Path) -> Source:
    name, equals, path = str(text).partition("=")
    if equals and not Path(text).exists():  # else a file that has = in its name
        return Source(name, Path(path))
    return Source(Path(text).stem, Path(text))


@dataclass(frozen=True)
class Folder:
    """A folder whose artifacts clients may load by name; nothing outside of it can be named.

    Hidden files and folders are no artifacts: editors, copies in progress and macOS leave such.
    """

    path: Path

    def sources(self) -> tuple[Source, ...]:
        """One for every artifact directly in it whose name can be served, by name."""
        return tuple(Source(found.stem, found) for found in self._found() if name_fault(found.stem) is None)

    def refused(self) -> dict[str, str]:
        """Why the other artifacts are not offered, by their names, in which odd characters are escaped."""
        faults = {found.stem: name_fault(found.stem) for found in self._found()}
        return {
            ascii(name)[1:-1]: f"the file's name {fault}: rename it"
            for name, fault in faults.items()
            if fault is not None
        }

    def _found(self) -> list[Path]:
        return sorted(
            found
            for found in self.path.glob(f"*{SUFFIX}")
            if not found.name.startswith(".") and not found.is_dir()
        )

    def file(self, text: str) -> Path:
        """The artifact at that path relative to the folder; raises `BadInput` for one that is not inside."""
        inside = self.path.resolve()
        try:
            path = (inside / text).resolve()
            allowed = path.is_relative_to(inside) and path.suffix == SUFFIX and path.is_file()
        except (OSError, RuntimeError, ValueError):  # a null byte, a name too long, a loop of links
            allowed = False
        if not allowed:
            raise BadInput(f"path {text[:80]!r} is no {SUFFIX} file inside this server's model folder")
        return path
