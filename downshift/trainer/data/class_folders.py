"""Lists image files in one folder per class and validates their names.

Hidden files and folders, and those that operating systems create, are ignored.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")
)
# Image formats the reader does not support: skipping them silently would train on part of the data.
_UNREAD = frozenset((".avif", ".heic", ".heif", ".jp2", ".jxl", ".pbm", ".pgm", ".pnm", ".ppm"))
# Created by macOS, Synology, Windows and Linux; names that begin with a dot are hidden anyway.
_SYSTEM = frozenset(
    ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")
)
_UNPRINTABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))  # control characters, bytes that are not UTF-8, line ends


@dataclass(frozen=True)
class Files:
    """Paths of image files and their class indices."""

    paths: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Sequence[int]) -> Files:
        """The files at `indices`, in that order."""
        return Files(tuple(self.paths[i] for i in indices), tuple(self.labels[i] for i in indices))


def list_class_folders(folder: Path) -> tuple[tuple[str, ...], Files]:
    """Class names in alphabetical order, and the image files at any depth below each class's folder.

    Raises `DataError` for a missing folder, no class folders or an empty one; for a name that is not UTF-8 or
    has a control character, invalid in manifest and metrics; for an image format the server does not read.
    """
    names = sorted(entry.name for entry in _visible(folder) if entry.is_dir())
    if not names:
        raise DataError(
            f"{printable(str(folder))} holds no image files in class folders: "
            "unpack the images as <folder>/<class>/<image>"
        )
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = sorted(_images(os.path.join(folder, name)))  # noqa: PTH118 - a million paths
        if not found:
            raise DataError(
                f"{printable(str(folder))} holds no image files in class folder {printable(name)}: "
                "put some there, or remove the folder"
            )
        paths += found
        labels += [label] * len(found)
    for name in names:
        _check_name(name, folder / name)
    for path in paths:
        _check_name(path[len(str(folder)) :], path)
    return tuple(names), Files(tuple(paths), tuple(labels))


def has_folders(folder: Path) -> bool:
    """Whether a folder holds others that could be classes."""
    return any(entry.is_dir() for entry in _visible(folder))


def list_images(folder: Path) -> Files:
    """The image files of a folder without class folders, in alphabetical order, all of class 0.

    Raises `DataError` where there are none, and for an image in a format that the server could not read.
    """
    paths = tuple(sorted(_images(str(folder))))
    if not paths:
        raise DataError(f"{printable(str(folder))} holds no image files: put some there, or in class folders")
    return Files(paths, (0,) * len(paths))


def printable(text: str) -> str:
    r"""The text with control characters and bytes that are not UTF-8 as escapes, such as \n or \xe9."""
    whole = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNPRINTABLE else c for c in whole
    )


def _images(folder: str) -> Iterator[str]:
    """Paths of image files below a folder, without hidden ones; follows links to folders, each once."""
    seen = set()
    pending = [folder]
    while pending:
        here = pending.pop()
        place = os.path.realpath(here)
        if place in seen:
            continue
        seen.add(place)
        for entry in _visible(here):
            if entry.is_dir():
                pending.append(entry.path)
                continue
            extension = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
            if extension in _UNREAD:
                raise DataError(
                    f"{printable(entry.path)} is in a format that is not read: convert it to JPEG or PNG"
                )
            if extension in EXTENSIONS and entry.is_file():
                yield entry.path


def _visible(folder: str | Path) -> list[os.DirEntry[str]]:
    """The entries of a folder without hidden ones and those created by operating systems."""
    try:
        with os.scandir(folder) as entries:
            return [each for each in entries if not each.name.startswith(".") and each.name not in _SYSTEM]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{printable(str(folder))} cannot be read: {error.strerror}") from error


def _check_name(name: str, path: str | Path) -> None:
    if name.isascii() and name.isprintable():
        return
    if any(unicodedata.category(c) in _UNPRINTABLE for c in name):
        raise DataError(
            f"{printable(str(path))} has a name that is not UTF-8 or holds a control character: rename it"
        )
