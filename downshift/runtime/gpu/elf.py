"""What a shared library needs, read from the dynamic section of its ELF file without loading it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian: x86-64 and AArch64
PT_LOAD, PT_DYNAMIC = 1, 2
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5
_HEADER = struct.Struct("<16s HHI QQQ I HHHHHH")
_SEGMENT = struct.Struct("<II QQQQQQ")
_ENTRY = struct.Struct("<qQ")


def needed(path: Path) -> tuple[str, ...]:
    """The sonames in a library's DT_NEEDED entries, in order; empty without a dynamic section.

    Reads three small pieces of the file, however large it is. Raises ValueError for another kind of file.
    Source: System V ABI, chapter 5, "Program Loading and Dynamic Linking".
    """
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size or not header.startswith(MAGIC):
            raise ValueError(f"{path.name} is no 64-bit little-endian ELF file")
        fields = _HEADER.unpack(header)
        begin, size, count = fields[5], fields[9], fields[10]
        file.seek(begin)
        table = file.read(size * count)
        segments = [_SEGMENT.unpack_from(table, index * size) for index in range(count)]
        entries: list[tuple[int, int]] = []
        for kind, _, offset, _, _, length, _, _ in segments:
            if kind == PT_DYNAMIC:
                file.seek(offset)
                entries += _ENTRY.iter_unpack(file.read(length))
        names, strings = [], 0
        for tag, value in entries:
            if tag == DT_NULL:
                break
            if tag == DT_NEEDED:
                names.append(value)
            elif tag == DT_STRTAB:
                strings = _file_offset(segments, value)
        found = []
        for name in names:
            file.seek(strings + name)
            found.append(file.read(256).partition(b"\0")[0].decode())
        return tuple(found)


def _file_offset(segments: list[tuple[int, ...]], address: int) -> int:
    """Where in the file lies what is loaded at that address."""
    for kind, _, offset, begin, _, length, _, _ in segments:
        if kind == PT_LOAD and begin <= address < begin + length:
            return offset + address - begin
    raise ValueError(f"no segment holds address {address:#x}")
