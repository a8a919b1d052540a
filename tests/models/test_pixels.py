from __future__ import annotations

import numpy as np
from PIL import Image

from downshift.models.images.preprocess import preprocess
from downshift.models.pixels import normalise
from downshift.models.spec import InputSpec

SPEC = InputSpec("image", 3, 2, 2, (0.5, 0.25, 0.125), (0.5, 0.5, 0.25))


def test_each_channel_has_its_own_mean_and_deviation() -> None:
    pixels = np.zeros((1, 3, 2, 2), np.uint8)
    pixels[0, :, 0, 0] = 255
    values = normalise(pixels, SPEC)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values[0, :, 0, 0], [1.0, 1.5, 3.5])
    np.testing.assert_array_equal(values[0, :, 1, 1], [-1.0, -0.5, -0.5])


def test_raw_pixels_and_a_picture_of_them_are_the_same_input() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (2, 2, 3), np.uint8)
    raw = picture.transpose(2, 0, 1)[np.newaxis]
    np.testing.assert_array_equal(normalise(raw, SPEC), preprocess(Image.fromarray(picture), SPEC))
