"""gzip and deflate, both ways; what comes in is inflated within a limit, so that no bomb fills the memory."""

from __future__ import annotations

import re
import zlib

from downshift.server.errors import BadInput, BodyTooLarge, UnsupportedMedia

GZIP, DEFLATE, IDENTITY = "gzip", "deflate", "identity"
SMALLEST = 1024  # bytes of an answer that compression is tried on
_LEVEL = 1  # the time of an answer counts for more than its last bytes
_GZIP_FRAME, _ZLIB_FRAME, _NO_FRAME = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_QUALITY = re.compile(r";\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*$", re.IGNORECASE)


def read_encoding(header: str | None) -> str:
    """GZIP, DEFLATE or IDENTITY, as a Content-Encoding header says; raises `UnsupportedMedia`."""
    encoding = (header or IDENTITY).strip().lower()
    if encoding == "x-gzip":
        return GZIP
    if encoding not in (GZIP, DEFLATE, IDENTITY):
        raise UnsupportedMedia(
            f"Content-Encoding {encoding[:40]!r} is not read here: send gzip, deflate, or the plain body"
        )
    return encoding


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """The plain content of a GZIP or DEFLATE body.

    Raises `BodyTooLarge` as soon as there would be more than `limit` bytes of it, `BadInput` when the body
    is damaged, cut short, or followed by something.
    """
    inflater = zlib.decompressobj(_GZIP_FRAME if encoding == GZIP else _frame(body))
    try:
        content = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise BadInput(f"the body is not valid {encoding}, though Content-Encoding says so") from None
    if len(content) > limit:
        raise BodyTooLarge(limit)
    if not inflater.eof:
        raise BadInput(f"the {encoding} body is cut short: send it whole")
    if inflater.unused_data:
        raise BadInput(f"{len(inflater.unused_data)} bytes follow the {encoding} body: send one stream alone")
    return content


def choose_encoding(header: str | None) -> str:
    """GZIP or DEFLATE where an Accept-Encoding header names one, else IDENTITY."""
    named = dict(map(_preference, (header or "").lower().split(",")))
    best = max((GZIP, DEFLATE), key=lambda name: named.get(name, 0.0))
    return best if named.get(best, 0.0) > 0 else IDENTITY


def deflate(content: bytes, encoding: str) -> bytes:
    """The content as a GZIP or DEFLATE body, compressed lightly."""
    deflater = zlib.compressobj(_LEVEL, wbits=_GZIP_FRAME if encoding == GZIP else _ZLIB_FRAME)
    return deflater.compress(content) + deflater.flush()


def _frame(body: bytes) -> int:
    """Deflate means zlib's frame (RFC 9110, 8.4.1.2), but some clients send the naked stream."""
    framed = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0  # noqa: PLR2004
    return _ZLIB_FRAME if framed else _NO_FRAME


def _preference(item: str) -> tuple[str, float]:
    name, _, _ = item.partition(";")
    quality = _QUALITY.search(item)
    return name.strip(), float(quality[1]) if quality else 1.0
