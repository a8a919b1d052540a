"""Pictures made in code, and their files."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from downshift.models.spec import InputSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


COLOUR = InputSpec("image", 3, 4, 6, (0.5, 0.25, 0.125), (0.5, 0.25, 1.0))
WHITE, RED, GREEN = (255, 255, 255), (255, 0, 0), (0, 255, 0)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Random bytes [height, width, channels]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def picture(pixels: NDArray[np.uint8]) -> Image.Image:
    """The picture with these bytes [height, width, 1 or 3 or 4]."""
    return Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The picture's file."""
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: tuple[int, int], depth: int, colour: int, rows: list[bytes], extra: bytes = b"") -> bytes:
    """A PNG file of these rows, each with its filter byte, and chunks before them."""
    head = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"".join(rows)) if rows else b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + pixels + chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    """A PNG file that claims this size and holds next to nothing."""
    return png((width, height), 8, 2, [])


def bytes_of(inputs: NDArray[np.float32], spec: InputSpec) -> NDArray[np.float64]:
    """Undo scale and normalisation: [H, W, C] in 0 to 255."""
    hwc = inputs[0].astype(np.float64).transpose(1, 2, 0)
    return np.asarray((hwc * np.array(spec.std) + np.array(spec.mean)) * 255)


def one(mode: str, colour: tuple[int, ...] | int) -> Image.Image:
    """A picture of 4 x 6 pixels of one colour."""
    return Image.new(mode, (6, 4), colour)
