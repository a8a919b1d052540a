"""Every kind of pixel becomes 8 bits of grey or colour."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from downshift.models.images.errors import (
    UnsupportedImage,
)
from downshift.models.images.preprocess import preprocess
from downshift.models.images.reader import read_image
from tests.models.images.pictures import (
    COLOUR,
    GREEN,
    RED,
    WHITE,
    bytes_of,
    chunk,
    encoded,
    one,
    png,
)


def transparent_palette() -> Image.Image:
    image = one("P", 0)
    image.putpalette([*GREEN, *RED])
    image.info["transparency"] = 0
    return image


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (one("L", 128), (128, 128, 128)),
        (one("1", 1), WHITE),
        (one("LA", (0, 0)), WHITE),
        (one("LA", (0, 255)), (0, 0, 0)),
        (one("RGBA", (*RED, 255)), RED),
        (one("RGBA", (*RED, 0)), WHITE),
        (one("RGBA", (*RED, 51)), (255, 204, 204)),
        (one("RGB", RED).convert("P"), RED),
        (transparent_palette(), WHITE),
        (Image.fromarray(np.full((4, 6), 0x80FF, dtype=np.uint16)), (128, 128, 128)),
    ],
    ids=[
        "grey",
        "bits",
        "clear-grey",
        "grey-alpha",
        "opaque",
        "clear",
        "faint",
        "palette",
        "clear-palette",
        "16",
    ],
)
def test_every_kind_of_pixel_becomes_colour(image: Image.Image, colour: tuple[int, ...]) -> None:
    found = bytes_of(preprocess(read_image(encoded(image)), COLOUR), COLOUR)
    np.testing.assert_allclose(found, np.broadcast_to(colour, (4, 6, 3)), atol=1.01)


def test_cmyk_becomes_colour() -> None:
    image = one("RGB", (200, 40, 30)).convert("CMYK")
    found = bytes_of(preprocess(read_image(encoded(image, "JPEG", quality=100)), COLOUR), COLOUR)
    np.testing.assert_allclose(found, np.broadcast_to([200, 40, 30], (4, 6, 3)), atol=6)


def test_inks_of_a_jpeg_that_is_not_adobe_s_are_not_inverted() -> None:
    data = encoded(one("RGB", (200, 40, 30)).convert("CMYK"), "JPEG", quality=100)
    start = data.index(b"\xff\xee")
    plain = data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4]) :]
    assert b"Adobe" in data
    assert b"Adobe" not in plain
    found = bytes_of(preprocess(read_image(plain), COLOUR), COLOUR)
    inverted = one("RGB", (200, 40, 30)).convert("CMYK").point(lambda ink: 255 - ink).convert("RGB")
    np.testing.assert_allclose(found, np.asarray(inverted), atol=6)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_deep_grey_is_scaled_down(kind: str) -> None:
    deep = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2800
    found = read_image(encoded(Image.fromarray(deep), kind))
    np.testing.assert_array_equal(np.asarray(found), deep // 256)


def tiff16(samples: int, bits: int, photometric: int, pixels: bytes) -> bytes:
    """A TIFF of 2 x 1 pixels, uncompressed, which Pillow cannot write."""
    entries = [(256, 3, 1, 2), (257, 3, 1, 1), (259, 3, 1, 1), (262, 3, 1, photometric)]
    entries += [(273, 4, 1, 200), (277, 3, 1, samples), (278, 3, 1, 1), (279, 4, 1, len(pixels))]
    entries.append((258, 3, samples, bits if samples == 1 else 180))
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in sorted(entries))
    head = b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)
    return head.ljust(180, b"\0") + struct.pack("<3H", *[bits] * 3).ljust(20, b"\0") + pixels


def test_sixteen_bits_of_colour_are_scaled_down() -> None:
    pixels = np.array([0x12FF, 0x80FF, 0xFFFF, 0, 0x0100, 0xFE00], "<u2").tobytes()
    found = np.asarray(read_image(tiff16(3, 16, 2, pixels)))
    np.testing.assert_allclose(found, [[[0x12, 0x80, 0xFF], [0, 1, 0xFE]]], atol=1)
    rows = [b"\0" + np.array([0x12FF, 0x80FF, 0xFFFF, 0, 0x0100, 0xFE00], ">u2").tobytes()]
    found = np.asarray(read_image(png((2, 1), 16, 2, rows)))
    np.testing.assert_allclose(found, [[[0x12, 0x80, 0xFF], [0, 1, 0xFE]]], atol=1)


def test_sixteen_bits_of_grey_with_alpha_are_laid_over_white() -> None:
    rows = [b"\0" + np.array([0x4000, 0xFFFF, 0, 0], ">u2").tobytes()]
    found = np.asarray(read_image(png((2, 1), 16, 4, rows)).convert("L"))
    np.testing.assert_allclose(found, [[0x40, 255]], atol=1)


def test_a_clear_shade_of_deep_grey_shows_the_paper() -> None:
    rows = [b"\0" + np.array([0x4000, 0x4001], ">u2").tobytes()]
    found = read_image(png((2, 1), 16, 0, rows, chunk(b"tRNS", b"\x40\x01")))
    np.testing.assert_array_equal(np.asarray(found), [[0x40, 255]])


def test_grey_that_counts_from_white_is_turned_round() -> None:
    pixels = np.array([0x0000, 0x4000], "<u2").tobytes()
    np.testing.assert_array_equal(np.asarray(read_image(tiff16(1, 16, 0, pixels))), [[255, 255 - 0x40]])


def test_twelve_bits_of_grey_fill_the_range() -> None:
    found = np.asarray(read_image(tiff16(1, 12, 1, bytes([0xFF, 0xF8, 0x00]))))
    np.testing.assert_array_equal(found, [[255, 128]])


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (Image.fromarray(np.ones((4, 6), np.float32)), "pixels of kind F are not read"),
        (Image.fromarray(np.full((4, 6), 70_000, np.int32)), "grey values beyond 16 bits"),
    ],
)
def test_pixels_without_an_agreed_white_are_refused(image: Image.Image, sentence: str) -> None:
    with pytest.raises(UnsupportedImage, match=sentence):
        read_image(encoded(image, "TIFF"))
