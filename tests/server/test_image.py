from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.spec import InputSpec
from server.errors import BrokenImage, ImageTooLarge, NotAnImage
from server.image import preprocess, read_image
from tests.server.pictures import encoded, noise, picture, png_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.spec import Interpolation

MEAN, STD = (0.5, 0.25, 0.125), (0.5, 0.25, 1.0)
COLOUR = InputSpec("image", 3, 4, 6, MEAN, STD)
GREY = InputSpec("image", 1, 4, 6, (0.0,), (1.0,))


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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_a_file_is_its_content_decides(kind: str) -> None:
    image = Image.new("RGB", (6, 4), (200, 100, 50))
    found = bytes_of(preprocess(read_image(encoded(image, kind)), COLOUR), COLOUR)
    np.testing.assert_allclose(found, np.broadcast_to([200, 100, 50], (4, 6, 3)), atol=4)


def test_the_exif_orientation_is_applied() -> None:
    pixels = noise(6, 4)
    exif = Image.Exif()
    exif[0x0112] = 8  # the camera was held so that the picture needs a quarter turn to the left
    found = read_image(encoded(picture(pixels), "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(found), np.rot90(pixels, 1))


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


def test_colour_becomes_grey_by_its_luminance() -> None:
    found = bytes_of(preprocess(one("RGB", GREEN), GREY), GREY)
    np.testing.assert_allclose(found, np.full((4, 6, 1), 0.587 * 255), atol=1)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"GIF89a" + bytes(20), b"BM" + bytes(60), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"%PDF"],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(NotAnImage, match="JPEG, PNG or WebP"):
        read_image(data)


def test_a_gif_is_refused_even_when_it_is_whole() -> None:
    with pytest.raises(NotAnImage):
        read_image(encoded(one("P", 0), "GIF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_picture_is_refused(kind: str) -> None:
    data = encoded(picture(noise(64, 64)), kind)
    with pytest.raises((BrokenImage, NotAnImage)):
        read_image(data[: len(data) // 2])


@pytest.mark.parametrize("side", [1001, 12_000, 20_000, 2**31 - 1])
def test_too_many_pixels_are_refused_before_decoding(side: int) -> None:
    with pytest.raises(ImageTooLarge, match="scale it down"):
        read_image(png_header(side, side), max_pixels=1_000_000)


def test_the_pixel_limit_itself_is_allowed() -> None:
    assert read_image(encoded(picture(noise(10, 10))), max_pixels=100).size == (10, 10)
    with pytest.raises(ImageTooLarge, match="10 x 10 pixels, more than the 99 accepted"):
        read_image(encoded(picture(noise(10, 10))), max_pixels=99)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "WEBP"]), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)))
)
def test_damaged_files_give_a_picture_or_our_own_error(kind: str, damage: list[tuple[int, int]]) -> None:
    data = bytearray(encoded(picture(noise(8, 8)), kind))
    for position, value in damage:
        data[position % len(data)] = value
    try:
        image = read_image(bytes(data), max_pixels=10_000)
    except (NotAnImage, ImageTooLarge, BrokenImage):
        return
    assert np.isfinite(preprocess(image, COLOUR)).all()
