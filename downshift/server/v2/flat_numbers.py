"""Chunked parsing of a long flat JSON array, so that the parser does not hold the GIL for all of it.

One call of a JSON parser holds the GIL until it returns: 70 ms for ten megabytes of digits.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIECE = 32 * 1024  # bytes per chunk: well below a millisecond of parsing
PAUSE = 50e-6  # seconds between two chunks, to hand the GIL to another thread
_KEY = b'"data"'
_BLANK = b" \t\r\n"


def cut_numbers(text: bytes) -> tuple[bytes, NDArray[Any]] | None:
    """The JSON with its one flat array `data` replaced by an empty one, and that array's numbers.

    None if the text has another structure or is malformed: the parser of the whole then reports the error.
    numpy chooses the dtype.
    """
    key = text.find(_KEY)
    if key < 0 or text.find(_KEY, key + 1) >= 0:
        return None
    begin = text.find(b"[", key)
    if begin < 0 or text[key + len(_KEY) : begin].strip(_BLANK) != b":":
        return None
    end = text.find(b"]", begin)
    if end < 0 or text.find(b"[", begin + 1, end) >= 0 or text.find(b'"', begin, end) >= 0:
        return None
    pieces: list[NDArray[Any]] = []
    position = begin + 1
    while position <= end:
        comma = text.find(b",", min(position + PIECE, end), end)
        stop = end if comma < 0 else comma
        try:
            piece = np.asarray(orjson.loads(b"[%b]" % text[position:stop]))
        except orjson.JSONDecodeError:
            return None
        if not piece.size:  # an empty array, or a comma before its end
            return None
        pieces.append(piece)
        position = stop + 1
        time.sleep(PAUSE)
    return text[: begin + 1] + text[end:], np.concatenate(pieces)
