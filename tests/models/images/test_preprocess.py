"""Preprocessing: the resize and crop rule, and the numbers that come out of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from downshift.models.images.preprocess import preprocess, read_input
from downshift.models.images.reader import read_image
from downshift.models.spec import InputSpec
from tests.models.images.pictures import (
    COLOUR,
    GREEN,
    bytes_of,
    encoded,
    noise,
    one,
    picture,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from downshift.models.spec import Interpolation


MEAN, STD = COLOUR.mean, COLOUR.std
GREY = InputSpec("image", 1, 4, 6, (0.0,), (1.0,))


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


@settings(max_examples=40)
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
