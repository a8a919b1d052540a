"""Small files that claim or hold far more than they should. As a program: what reading each one costs.

`python -m tests.models.images.bombs` prints every bomb's answer and by how many bytes the process grew.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
import warnings
import zlib
from typing import TYPE_CHECKING

from PIL import Image

from downshift.models.images.errors import ImageError
from downshift.models.images.reader import read_image
from tests.models.images.pictures import chunk, encoded, png, png_header

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 1_000_000
ZEROS = 2**28


def deflated_zeros(size: int = ZEROS) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(size // 2**20)) + packer.flush()


def png_pixels() -> bytes:
    whole = png((16_000, 16_000), 8, 0, [])
    return whole.replace(chunk(b"IDAT", b""), chunk(b"IDAT", deflated_zeros()))


def png_profile() -> bytes:
    return png((1, 1), 8, 0, [bytes(2)], chunk(b"iCCP", b"x\0\0" + deflated_zeros()))


def png_text() -> bytes:
    return png((1, 1), 8, 0, [bytes(2)], chunk(b"zTXt", b"x\0\0" + deflated_zeros()))


def png_international_text() -> bytes:
    return png((1, 1), 8, 0, [bytes(2)], chunk(b"iTXt", b"x\0\1\0\0\0" + deflated_zeros()))


def gif_canvas() -> bytes:
    tiny = encoded(Image.new("P", (1, 1)), "GIF")
    return tiny[:6] + struct.pack("<HH", 65_535, 65_535) + tiny[10:]


def bmp(compression: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 8, compression, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 2000, 0, 0, 54 + 1024) + head + bytes(1024) + b"\xff\0" * 400


def webp_canvas() -> bytes:
    data = encoded(Image.new("RGBA", (2, 2), (1, 2, 3, 4)), "WEBP", exif=b"Exif\0\0")
    at = data.index(b"VP8X") + 12
    return data[:at] + (2**16 - 1).to_bytes(3, "little") * 2 + data[at + 6 :]


def tiff(entries: list[tuple[int, int, int, int]], tail: bytes) -> bytes:
    packed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + packed + bytes(4) + tail


def tiff_base(
    side: int, compression: int, *more: tuple[int, int, int, int]
) -> list[tuple[int, int, int, int]]:
    sides = [(256, 4, 1, side), (257, 4, 1, side)]
    return [*sides, (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1), *more]


def tiff_tile() -> bytes:
    data = deflated_zeros()
    tile = [(322, 4, 1, 16_384), (323, 4, 1, 16_384), (324, 4, 1, 150), (325, 4, 1, len(data))]
    return tiff(tiff_base(16, 8, *tile), b"".ljust(28) + data)


def tiff_strip() -> bytes:
    data = deflated_zeros()
    strip = [(273, 4, 1, 150), (278, 4, 1, 2**31), (279, 4, 1, len(data))]
    return tiff(tiff_base(16, 8, *strip), b"".ljust(40) + data)


def tiff_offsets() -> bytes:
    count = 2_000_000
    return tiff(tiff_base(1, 1, (273, 4, count, 150), (278, 4, 1, 1)), b"".ljust(100) + bytes(4 * count))


def tiff_samples() -> bytes:
    count = 4_000_000
    entries = [entry for entry in tiff_base(1, 1, (273, 4, 1, 8)) if entry[0] != 258]
    return tiff([*entries, (258, 3, count, 150)], b"".ljust(100) + bytes(2 * count))


def tiff_exif() -> bytes:
    count = 1_000_000
    inner = struct.pack("<HHHII", 1, 33_434, 5, count, 200) + bytes(4)
    strip = (273, 4, 1, 8), (279, 4, 1, 1)
    return tiff(tiff_base(1, 1, *strip, (34_665, 4, 1, 112)), inner.ljust(100) + b"\1" * (8 * count))


def jpeg_sides() -> bytes:
    data = encoded(Image.new("RGB", (8, 8)), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + b"\xff\xdc\xff\xdc" + data[at + 4 :]


def jpeg_scans() -> bytes:
    data = encoded(Image.new("L", (900, 900)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 20_000 + data[-2:]


def jpeg_exif() -> bytes:
    data = encoded(Image.new("L", (8, 8)), "JPEG")
    rational = b"Exif\0\0II*\0" + struct.pack("<IHHHII", 8, 1, 0x011A, 5, 700_000, 26)
    block = b"\xff\xe1" + struct.pack(">H", 65_000) + rational.ljust(64_998, b"\1")
    more = b"\xff\xe1" + struct.pack(">H", 65_000) + b"Exif\0\0".ljust(64_998, b"\1")
    return data[:2] + block + more * 90 + data[2:]


BOMBS: dict[str, Callable[[], bytes]] = {
    "png of 2^62 pixels": lambda: png_header(2**31 - 1, 2**31 - 1),
    "png pixels": png_pixels,
    "png profile": png_profile,
    "png text": png_text,
    "png international text": png_international_text,
    "gif canvas": gif_canvas,
    "bmp": lambda: bmp(0),
    "bmp in runs": lambda: bmp(1),
    "webp canvas": webp_canvas,
    "tiff tile": tiff_tile,
    "tiff strip": tiff_strip,
    "tiff offsets": tiff_offsets,
    "tiff samples": tiff_samples,
    "tiff exif": tiff_exif,
    "jpeg sides": jpeg_sides,
    "jpeg scans": jpeg_scans,
    "jpeg exif": jpeg_exif,
}


def main() -> None:
    """Read every bomb once, in one process."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for kind in ("PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG"):  # libraries are loaded before anything counts
        read_image(encoded(Image.new("RGB", (64, 64)), kind))
    cost = {}
    for name, make in BOMBS.items():
        data = make()
        before = peak()
        try:
            read_image(data, max_pixels=LIMIT)
            answer = "read"
        except ImageError as error:
            answer = type(error).__name__
        cost[name] = (answer, len(data), peak() - before)
    json.dump(cost, sys.stdout)


def peak() -> int:
    """The most memory this process has ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
