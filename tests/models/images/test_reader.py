from __future__ import annotations

import io
import struct
import subprocess
import sys
from dataclasses import replace
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
from downshift.models.images.preprocess import preprocess, read_input
from downshift.models.images.reader import read_image
from downshift.models.spec import InputSpec
from tests.models.images.pictures import chunk, encoded, noise, picture, png, png_header

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from downshift.models.spec import Interpolation

MEAN, STD = (0.5, 0.25, 0.125), (0.5, 0.25, 1.0)
COLOUR = InputSpec("image", 3, 4, 6, MEAN, STD)
GREY = InputSpec("image", 1, 4, 6, (0.0,), (1.0,))
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def bytes_of(inputs: NDArray[np.float32], spec: InputSpec) -> NDArray[np.float64]:
    """Undo scale and normalisation: [H, W, C] in 0 to 255."""
    hwc = inputs[0].astype(np.float64).transpose(1, 2, 0)
    return np.asarray((hwc * np.array(spec.std) + np.array(spec.mean)) * 255)


def test_a_picture_of_the_input_s_size_is_only_normalised() -> None:
    pixels = noise(4, 6)
    inputs = preprocess(picture(pixels), COLOUR)
    assert inputs.shape == (1, 3, 4, 6)
    assert inputs.dtype == np.float32
    assert inputs.flags.c_contiguous
    for channel in range(3):
        expected = (pixels[:, :, channel] / 255 - MEAN[channel]) / STD[channel]
        np.testing.assert_allclose(inputs[0, channel], expected, atol=1e-6)


def test_literal_pixels() -> None:
    spec = replace(COLOUR, height=1, width=2)
    inputs = preprocess(picture(np.array([[[0, 0, 0], [255, 51, 102]]], dtype=np.uint8)), spec)
    expected = [[[-1.0, 1.0]], [[-1.0, -0.2]], [[-0.125, 0.275]]]
    np.testing.assert_allclose(inputs[0], expected, atol=1e-6)


def triangle(length: int, target: int) -> NDArray[np.float64]:
    """The weights [target, length] of antialiased linear resizing, from its definition."""
    scale = max(1.0, length / target)
    centres = (np.arange(target) + 0.5) * length / target
    distance = np.abs(np.arange(length) + 0.5 - centres[:, np.newaxis]) / scale
    weights = np.clip(1.0 - distance, 0.0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("size", [(8, 12), (9, 31), (2, 3), (40, 7)])
def test_the_whole_picture_is_resized_linearly(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    expected = np.einsum("yh,hwc,xw->yxc", triangle(size[0], 4), pixels, triangle(size[1], 6))
    found = bytes_of(preprocess(picture(pixels), COLOUR), COLOUR)
    np.testing.assert_allclose(found, expected, atol=1.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(6, 20), st.sampled_from(["bilinear", "bicubic"]))
def test_resizing_the_visible_part_equals_resizing_all_and_cutting_out_the_centre(
    height: int, width: int, resize: int, interpolation: Interpolation
) -> None:
    spec = replace(COLOUR, resize=resize, interpolation=interpolation)
    image = picture(96 + noise(height, width, seed=resize) // 4)  # away from 0 and 255, where bicubic clips
    if height < width:
        whole = image.resize((resize * width // height, resize), Image.Resampling[interpolation.upper()])
    else:
        whole = image.resize((resize, resize * height // width), Image.Resampling[interpolation.upper()])
    left, top = round((whole.width - 6) / 2), round((whole.height - 4) / 2)
    expected = np.asarray(whole)[top : top + 4, left : left + 6]
    # each of the two passes rounds to bytes, and ties may fall either way
    np.testing.assert_allclose(bytes_of(preprocess(image, spec), spec), expected, atol=2.01)


def test_an_endless_strip_takes_no_more_memory_than_its_pixels() -> None:
    strip = Image.new("RGB", (1_000_000, 1), (255, 0, 0))
    inputs = preprocess(strip, replace(COLOUR, resize=4096))
    np.testing.assert_allclose(bytes_of(inputs, COLOUR), np.broadcast_to([255, 0, 0], (4, 6, 3)), atol=1e-3)


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


WHITE, RED, GREEN = (255, 255, 255), (255, 0, 0), (0, 255, 0)


def one(mode: str, colour: tuple[int, ...] | int) -> Image.Image:
    return Image.new(mode, (6, 4), colour)


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


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_a_tiff_may_be_compressed(compression: str) -> None:
    data = encoded(one("RGB", (200, 100, 50)), "TIFF", compression=compression)
    np.testing.assert_allclose(
        np.asarray(read_image(data)), np.broadcast_to([200, 100, 50], (4, 6, 3)), atol=4
    )


def test_a_large_jpeg_is_scaled_down_while_it_is_decoded_to_nearly_the_same_input() -> None:
    smooth = picture(noise(12, 18)).resize((1800, 1200), Image.Resampling.BICUBIC)
    data = encoded(smooth, "JPEG", quality=95)
    assert read_image(data, enough=12).size == (225, 150)
    assert read_image(data, enough=400).size == (600, 400) or read_image(data, enough=400).size == (900, 600)
    spec = replace(COLOUR, height=24, width=32, resize=40)
    whole, reduced = preprocess(read_image(data), spec), read_input(data, spec)
    difference = np.abs(bytes_of(whole, spec) - bytes_of(reduced, spec))
    assert difference.mean() < 1
    assert difference.max() < 8


def test_a_small_jpeg_is_decoded_whole() -> None:
    data = encoded(picture(noise(20, 23)), "JPEG")
    np.testing.assert_array_equal(read_input(data, COLOUR), preprocess(read_image(data), COLOUR))


def test_colour_becomes_grey_by_its_luminance() -> None:
    found = bytes_of(preprocess(one("RGB", GREEN), GREY), GREY)
    np.testing.assert_allclose(found, np.full((4, 6, 1), 0.587 * 255), atol=1)


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
@settings(max_examples=150, deadline=None)
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
