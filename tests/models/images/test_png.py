"""PNG files whose metadata are large, compressed or damaged: only their pixels count."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from downshift.models.images.errors import BrokenImage
from downshift.models.images.png import MAX_CHUNKS, MAX_TEXT, without_metadata
from downshift.models.images.reader import read_image
from tests.models.images.pictures import chunk, encoded, noise, picture, png

ROWS = [b"\0\x10\x20", b"\0\x30\x40"]
PIXELS = [[0x10, 0x20], [0x30, 0x40]]
SIX = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # EXIF: orientation 6
TURNED = [[0x30, 0x10], [0x40, 0x20]]
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def file(*before: bytes, after: bytes = b"") -> bytes:
    """A grey PNG of 2 x 2 pixels with these chunks before and after its pixels."""
    whole = png((2, 2), 8, 0, ROWS, b"".join(before))
    return whole.replace(chunk(b"IEND", b""), after + chunk(b"IEND", b""))


def raw_profile(exif: bytes) -> bytes:
    """EXIF as ImageMagick writes it into a text."""
    data = b"Exif\0\0" + exif
    return b"\nexif\n%8d\n%s\n" % (len(data), data.hex().encode())


LARGE = bytes(4 * 2**20)
PACKED = zlib.compress(LARGE)
METADATA = {
    "compressed text": chunk(b"zTXt", b"Comment\0\0" + PACKED),
    "many compressed texts": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10**6))) * 80,
    "international text": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + PACKED),
    "plain text": chunk(b"tEXt", b"Comment\0" + LARGE),
    "colour profile": chunk(b"iCCP", b"icc\0\0" + PACKED),
    "raw profile": chunk(b"zTXt", b"Raw profile type exif\0\0" + PACKED),
    "unknown": chunk(b"prVt", LARGE),
    "damaged stream": chunk(b"zTXt", b"Comment\0\0not zlib"),
    "unknown compression": chunk(b"zTXt", b"Comment\0\7" + PACKED),
    "wrong checksum": chunk(b"tEXt", b"Comment\0hi")[:-1] + b"?",
    "bad lengths": chunk(b"pHYs", b"") + chunk(b"gAMA", b"") + chunk(b"sRGB", b"") + chunk(b"cHRM", b"x"),
    "words of Pillow": chunk(b"tEXt", b"transparency\0x") + chunk(b"tEXt", b"exif\0x"),
    "damaged animation": chunk(b"acTL", b"") + chunk(b"fcTL", b"x") + chunk(b"fdAT", b""),
    "no separator": chunk(b"iTXt", b"XML:com.adobe.xmp") + chunk(b"tEXt", b"") + chunk(b"zTXt", b"x"),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_of_any_size_and_form_leave_the_pixels_as_they_are(name: str) -> None:
    for data in (file(METADATA[name]), file(after=METADATA[name])):
        np.testing.assert_array_equal(np.asarray(read_image(data)), PIXELS)


@pytest.mark.parametrize(
    "orientation",
    [
        chunk(b"eXIf", SIX),
        chunk(b"tEXt", b"Raw profile type exif\0" + raw_profile(SIX)),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw_profile(SIX))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0en\0word\0" + XMP),
    ],
)
def test_whatever_tells_the_orientation_is_heard(orientation: bytes) -> None:
    for data in (file(orientation), file(after=orientation), file(METADATA["plain text"], orientation)):
        np.testing.assert_array_equal(np.asarray(read_image(data)), TURNED)


def test_transparency_and_palettes_are_kept() -> None:
    image = picture(noise(4, 4)).quantize(5)
    data = encoded(image, transparency=2)
    np.testing.assert_array_equal(
        np.asarray(Image.alpha_composite(Image.new("RGBA", (4, 4), "white"), opened(data)).convert("RGB")),
        np.asarray(read_image(data)),
    )


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGBA")


def test_only_one_text_of_a_kind_is_inflated_so_that_the_bound_holds() -> None:
    text = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(MAX_TEXT)))
    assert len(without_metadata(file(text * 500))) < MAX_TEXT + 1000


def test_a_file_of_nothing_but_chunks_is_refused() -> None:
    data = file(chunk(b"tEXt", b"") * MAX_CHUNKS)
    with pytest.raises(BrokenImage, match="more than 65536 chunks: save it anew"):
        read_image(data)


@pytest.mark.parametrize("end", range(8, file().index(b"IDAT") + 8))
def test_a_file_that_ends_before_its_pixels_do_keeps_its_damage(end: int) -> None:
    assert without_metadata(file()[:end]) == file()[:end]
    with pytest.raises(BrokenImage, match="truncated or corrupt"):
        read_image(file()[:end])


def test_a_file_that_ends_in_its_metadata_has_all_its_pixels() -> None:
    data = file(after=METADATA["plain text"])
    np.testing.assert_array_equal(np.asarray(read_image(data[:-1000])), PIXELS)
