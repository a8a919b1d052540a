"""Reading image files: formats, orientation, frames, limits and damage."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from downshift.models.images.errors import (
    BrokenImage,
    ImageError,
    ImageTooLarge,
    NotAnImage,
    UnsupportedImage,
)
from downshift.models.images.jpeg import MAX_EXIF
from downshift.models.images.preprocess import preprocess
from downshift.models.images.reader import read_image
from tests.models.images.pictures import (
    COLOUR,
    GREEN,
    RED,
    bytes_of,
    chunk,
    encoded,
    noise,
    one,
    picture,
    png,
    png_header,
)

if TYPE_CHECKING:
    from pathlib import Path


KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_file_is_its_content_decides(kind: str) -> None:
    image = Image.new("RGB", (6, 4), (200, 100, 50))
    found = bytes_of(preprocess(read_image(encoded(image, kind)), COLOUR), COLOUR)
    np.testing.assert_allclose(found, np.broadcast_to([200, 100, 50], (4, 6, 3)), atol=4)


TURNS = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: np.fliplr(np.rot90(pixels, -1)),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.fliplr(np.rot90(pixels, 1)),
    8: lambda pixels: np.rot90(pixels, 1),
}


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", TURNS)
def test_the_exif_orientation_is_applied_once(kind: str, orientation: int) -> None:
    pixels = noise(6, 4)
    found = read_image(encoded(picture(pixels), kind, exif=exif(orientation)))
    np.testing.assert_array_equal(np.asarray(found), TURNS[orientation](pixels))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_turned_photograph_stands_upright(kind: str) -> None:
    half = np.zeros((16, 8, 3), np.uint8)
    half[:, :4] = 255  # bright at the left, which a turn to the right brings to the top
    found = np.asarray(read_image(encoded(picture(half), kind, exif=exif(6))).convert("L"))
    assert found.shape == (8, 16)
    assert found[:3].min() > 200
    assert found[5:].max() < 50


def test_an_orientation_that_cannot_be_read_leaves_the_picture_as_it_lies() -> None:
    pixels = noise(6, 4)
    found = read_image(encoded(picture(pixels), "PNG", exif=b"Exif\0\0nonsense"))
    np.testing.assert_array_equal(np.asarray(found), pixels)


def test_a_progressive_jpeg_is_read_like_any_other() -> None:
    image = picture(noise(4, 6))
    plain, progressive = (
        np.asarray(read_image(encoded(image, "JPEG", quality=95, progressive=each)), np.int16)
        for each in (False, True)
    )
    np.testing.assert_allclose(plain, progressive, atol=2)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_moving_pictures_the_first_is_read(kind: str) -> None:
    later = [one("RGB", GREEN), one("RGB", (0, 0, 255))]
    data = encoded(one("RGB", RED), kind, save_all=True, append_images=later)
    with Image.open(io.BytesIO(data)) as found:
        assert getattr(found, "n_frames", 1) == 3
    np.testing.assert_allclose(np.asarray(read_image(data)), np.broadcast_to(RED, (4, 6, 3)), atol=4)


def test_a_pair_of_photographs_in_one_jpeg_gives_the_first() -> None:
    data = encoded(one("RGB", RED), "MPO", save_all=True, append_images=[one("RGB", GREEN)])
    np.testing.assert_allclose(np.asarray(read_image(data)), np.broadcast_to(RED, (4, 6, 3)), atol=4)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_a_tiff_may_be_compressed(compression: str) -> None:
    data = encoded(one("RGB", (200, 100, 50)), "TIFF", compression=compression)
    np.testing.assert_allclose(
        np.asarray(read_image(data)), np.broadcast_to([200, 100, 50], (4, 6, 3)), atol=4
    )


@pytest.mark.parametrize("data", [b"hello", b"GIF", b"<svg/>", b"%PDF", b"RIFFxxxxWAVE", b"\0\0\0 ftypheic"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(NotAnImage, match="not a JPEG, PNG, WebP, GIF, BMP or TIFF image: send one of those"):
        read_image(data)


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(NotAnImage, match="the file is empty: send a JPEG, PNG, "):
        read_image(b"")


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a" + bytes(20),
        b"BM" + bytes(60),
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"II*\0",
        b"MM\0*" + bytes(3),
    ],
)
def test_what_only_begins_like_a_picture_is_broken(data: bytes) -> None:
    with pytest.raises(BrokenImage, match="truncated or corrupt: send it whole"):
        read_image(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_picture_is_refused(kind: str) -> None:
    data = encoded(picture(noise(64, 64)), kind)
    with pytest.raises(BrokenImage, match="truncated or corrupt"):
        read_image(data[: len(data) // 2])


@pytest.mark.parametrize("side", [1001, 12_000, 20_000, 2**31 - 1])
def test_too_many_pixels_are_refused_before_decoding(side: int) -> None:
    with pytest.raises(ImageTooLarge, match="scale it down"):
        read_image(png_header(side, side), max_pixels=1_000_000)


def test_the_pixel_limit_itself_is_allowed() -> None:
    assert read_image(encoded(picture(noise(10, 10))), max_pixels=100).size == (10, 10)
    with pytest.raises(ImageTooLarge, match="10 x 10 pixels, more than the 99 accepted"):
        read_image(encoded(picture(noise(10, 10))), max_pixels=99)


def test_exif_beyond_measure_is_refused() -> None:
    data = png((2, 2), 8, 0, [bytes(3)] * 2, chunk(b"eXIf", b"MM\0*" + bytes(MAX_EXIF)))
    with pytest.raises(BrokenImage, match="bytes of EXIF: save it without"):
        read_image(data)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # as in the server, where nobody reads them
@settings(max_examples=150)
@given(
    st.sampled_from(KINDS),
    st.integers(0, 400),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8),
)
def test_damaged_files_give_a_picture_or_our_own_error(
    kind: str, cut: int, damage: list[tuple[int, int]]
) -> None:
    data = bytearray(encoded(picture(noise(8, 8)), kind))
    for position, value in damage:
        data[position % len(data)] = value
    if cut:
        del data[-(cut % len(data)) :]
    try:
        image = read_image(bytes(data), max_pixels=10_000)
    except (ImageError, UnsupportedImage):
        return
    assert np.isfinite(preprocess(image, COLOUR)).all()


WARMED = """
import sys
from pathlib import Path
from downshift.models.images.reader import read_image, warm_up
warm_up()
known = set(sys.modules)
for file in Path(sys.argv[1]).iterdir():
    read_image(file.read_bytes())
print(sorted(set(sys.modules) - known))
"""


def test_a_warmed_up_process_loads_nothing_for_its_first_pictures(tmp_path: Path) -> None:
    for kind in KINDS:
        (tmp_path / kind).write_bytes(encoded(picture(noise(9, 9)), kind))
    done = subprocess.run(
        [sys.executable, "-c", WARMED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
