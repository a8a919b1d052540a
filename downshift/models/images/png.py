"""PNG without metadata: only chunks that decide about pixels reach the decoder.

Texts and colour profiles may be compressed and large, and Pillow refuses the whole file because of them.
Pixels are what counts, so that such chunks are skipped before Pillow sees them.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from downshift.models.images.errors import BrokenImage

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CHUNKS = 2**16  # encoders cut pixels into pieces of 8 KiB or more: half a gigabyte of them
MAX_TEXT = 2**19  # bytes, inflated, of a text that tells the orientation; a longer one is skipped

_SIGNATURE, _HEADER, _CRC = 8, 8, 4  # bytes before the first chunk, before a chunk's data, and behind it
_KEPT = frozenset((b"tRNS", b"eXIf"))  # of the ancillary chunks
_ANCILLARY = 0x20  # this bit of a kind's first letter says that a decoder may skip the chunk
_END = b"IEND"
_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
_KEYWORD = 79  # bytes at most
_XMP = b"XML:com.adobe.xmp"
_ORIENTED = frozenset((b"Raw profile type exif", _XMP))  # keywords of texts that tell the orientation


def without_metadata(data: bytes) -> bytes:
    """The file with pixels, palette, transparency and orientation only; of an animation the default image.

    A damaged file keeps its damage. Raises `BrokenImage` for more than `MAX_CHUNKS` chunks.
    """
    return data[:_SIGNATURE] + b"".join(_kept(data))


def _kept(data: bytes) -> Iterator[bytes]:
    position = _SIGNATURE
    seen: set[bytes] = set()
    for _ in range(MAX_CHUNKS):
        if position + _HEADER > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + _HEADER + length + _CRC
        skippable = kind[0] & _ANCILLARY and kind not in _KEPT
        if end > len(data):
            if skippable:
                return
            break
        if not skippable:
            yield data[position:end]
        elif kind in _TEXTS:
            start = position + _HEADER
            keyword = data[start : start + _KEYWORD + 1].partition(b"\0")[0]
            if keyword in _ORIENTED - seen:  # one each, or the bound would hold for none
                seen.add(keyword)
                yield _text(kind, keyword, data[start + len(keyword) + 1 : end - _CRC])
        if kind == _END:
            return
        position = end
    else:
        raise BrokenImage(f"the PNG image has more than {MAX_CHUNKS} chunks", "save it anew")
    yield data[position:]


def _text(kind: bytes, keyword: bytes, body: bytes) -> bytes:
    """The same text as a chunk that is not compressed; nothing if it is damaged or longer than `MAX_TEXT`.

    body: what follows the keyword and its zero; in zTXt method and stream, in iTXt flag, method, language,
    zero, translated keyword, zero, and text or stream.
    """
    content: bytes | None = body
    if kind == b"zTXt":
        content = _inflated(body[1:])
    elif kind == b"iTXt":
        text = body[2:].split(b"\0", 2)[-1]
        content = _inflated(text) if body[:1] == b"\1" else text
    if content is None or len(content) > MAX_TEXT:
        return b""
    if keyword == _XMP:
        return _chunk(b"iTXt", keyword + bytes(5) + content)
    return _chunk(b"tEXt", keyword + bytes(1) + content)


def _inflated(stream: bytes) -> bytes | None:
    """The stream's content, or None if that is damaged or longer than `MAX_TEXT`."""
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(stream, MAX_TEXT)
    except zlib.error:
        return None
    return None if inflater.unconsumed_tail else content


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))
