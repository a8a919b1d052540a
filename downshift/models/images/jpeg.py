"""JPEG markers are checked before a decoder follows them: a bound on scans and on EXIF.

A progressive JPEG may go over its pixels in any number of scans, and a scan that changes nothing takes a
hundred bytes: a file of megabytes would keep a decoder busy for hours.
"""

from __future__ import annotations

import re

from downshift.models.images.errors import BrokenImage

MAX_SCANS = 100  # encoders write ten or so
MAX_EXIF = 2**18  # bytes; the standard's limit is a quarter of that

# Within a scan's data FF stands before 00; FF before FF is padding, and restart markers change nothing.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_ALONE = b"\x01\xd8"  # markers without a length
_END, _SCAN, _APP1 = b"\xd9", b"\xda", b"\xe1"


def check_jpeg(data: bytes, max_pixels: int) -> None:  # noqa: ARG001  like the other formats' checks
    """Pass a file of at most `MAX_SCANS` scans and `MAX_EXIF` bytes of EXIF; else raise `BrokenImage`."""
    position = scans = exif = 0
    while match := _MARKER.search(data, position):
        kind, position = match[1], match.end()
        if kind == _END:  # what follows the picture is not read
            return
        if kind in _ALONE:
            continue
        length = int.from_bytes(data[position : position + 2])
        scans += kind == _SCAN
        if kind == _APP1 and data.startswith(b"Exif\0", position + 2):
            exif += length
        if scans > MAX_SCANS:
            raise BrokenImage(f"the JPEG image has more than {MAX_SCANS} scans", "save it anew")
        if exif > MAX_EXIF:
            raise BrokenImage(f"the JPEG image has more than {MAX_EXIF} bytes of EXIF", "save it without")
        position += length
