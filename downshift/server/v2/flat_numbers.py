"""A long flat array of numbers taken out of JSON piece by piece, so that no thread waits for all of it.

A parser of JSON keeps the interpreter for as long as it runs: 70 ms for ten megabytes of digits.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIECE = 32 * 1024  # bytes that are parsed at once: well below a millisecond
PAUSE = 50e-6  # seconds between two pieces, in which other threads get the interpreter
_KEY = b'"data"'
_BLANK = b" \t\r\n"


def cut_numbers(text: bytes) -> tuple[bytes, NDArray[Any]] | None:
    """The JSON with an empty array in place of its one flat array called `data`, and the numbers of that.

    None when the JSON is not written so, or is none: then whoever parses the whole will say what it is. The
    numbers may be of any type that numpy makes of them.
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
