"""TIFF directories are checked before a decoder acts on their claims: a bound on tiles, lists and depth.

A directory of a few bytes can claim a tile of gigabytes or lists of millions of values, and Pillow and
libtiff would make room for both. What passes here costs no more memory than its pixels.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.models.images.errors import BrokenImage, ImageTooLarge, UnsupportedImage

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_VALUES = 65_536  # of numbers under one tag; one strip a row is the longest list that is of use
MAX_DIRECTORIES = 8
MAX_ENTRIES = 4_096
MIN_TILE = 2**20  # pixels that a tile may have even where pictures must be smaller

_COMPRESSION, _TILE_SIDES, _NESTED = 259, (322, 323), (34665, 34853, 40965)
_READ = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}  # whose decoders need no memory of the file's choosing
_OPAQUE = {1, 2, 7}  # bytes and text stay as they are, however many
_INTEGERS = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True)
class _Layout:
    """How numbers lie in the file: byte order, and the widths that BigTIFF doubled."""

    order: str
    first: int
    offset: str
    count: str
    entry: str


_LAYOUTS = {
    b"II*\0": _Layout("<", 4, "I", "H", "HHI4s"),
    b"MM\0*": _Layout(">", 4, "I", "H", "HHI4s"),
    b"II+\0": _Layout("<", 8, "Q", "Q", "HHQ8s"),
    b"MM\0+": _Layout(">", 8, "Q", "Q", "HHQ8s"),
}


@dataclass(frozen=True)
class _Entry:
    tag: int
    kind: int
    values: int
    number: int | None  # the value where there is one, and it is an integer


def check_tiff(data: bytes, max_pixels: int) -> None:
    """Pass a file whose first image can be decoded in bounded memory.

    Raises `ImageTooLarge` for tiles beyond `max_pixels`, `UnsupportedImage` for a compression that is not
    read, `BrokenImage` for directories that run out of the file or over every measure.
    """
    layout = _LAYOUTS[data[:4]]
    try:
        todo = [_pointer(data, layout)]
        tile = [1, 1]
        for directory in range(MAX_DIRECTORIES + 1):
            if not todo:
                break
            if directory == MAX_DIRECTORIES:
                raise BrokenImage(
                    f"the TIFF image has more than {MAX_DIRECTORIES} directories", "save it anew"
                )
            for entry in _entries(data, layout, todo.pop()):
                todo += _check(entry, tile)
    except struct.error:
        raise BrokenImage("the TIFF image is truncated or corrupt", "send it whole") from None
    if tile[0] * tile[1] > max(max_pixels, MIN_TILE):
        raise ImageTooLarge(
            f"the TIFF image has tiles of {tile[0]} x {tile[1]} pixels, more than the {max_pixels} accepted",
            "save it with smaller ones",
        )


def _check(entry: _Entry, tile: list[int]) -> list[int]:
    """The offsets of directories the entry points to; keeps the largest `tile` sides it meets."""
    if entry.values > MAX_VALUES and entry.kind not in _OPAQUE:
        raise BrokenImage(
            f"the TIFF image lists {entry.values} values under tag {entry.tag}, more than the {MAX_VALUES} "
            "accepted",
            "save it with larger strips",
        )
    if entry.tag == _COMPRESSION and entry.number not in _READ:
        raise UnsupportedImage(
            f"TIFF compression {entry.number} is not read here", "save it with LZW or Deflate"
        )
    if entry.tag in _TILE_SIDES:
        if entry.number is None:
            raise BrokenImage(f"the TIFF image's tag {entry.tag} is no whole number", "save it anew")
        side = _TILE_SIDES.index(entry.tag)
        tile[side] = max(tile[side], entry.number)
    return [entry.number] if entry.tag in _NESTED and entry.number is not None else []


def _pointer(data: bytes, layout: _Layout) -> int:
    """Where the first directory begins."""
    offset: int = struct.unpack_from(layout.order + layout.offset, data, layout.first)[0]
    return offset


def _entries(data: bytes, layout: _Layout, offset: int) -> Iterator[_Entry]:
    """The entries of the directory at that offset; raises `struct.error` where the file ends early."""
    if offset > len(data):
        raise struct.error
    (count,) = struct.unpack_from(layout.order + layout.count, data, offset)
    if count > MAX_ENTRIES:
        raise BrokenImage(f"the TIFF image has a directory of {count} entries", "save it anew")
    offset += struct.calcsize(layout.order + layout.count)
    form = struct.Struct(layout.order + layout.entry)
    for index in range(count):
        tag, kind, values, field = form.unpack_from(data, offset + index * form.size)
        code = _INTEGERS.get(kind) if values == 1 else None
        fits = code is not None and struct.calcsize(layout.order + code) <= len(field)
        number = struct.unpack_from(f"{layout.order}{code}", field)[0] if fits else None
        yield _Entry(tag, kind, values, number)
