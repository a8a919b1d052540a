"""Every way to hand over images gives the same input."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from downshift.api.errors import InvalidImages
from downshift.api.inputs import to_inputs
from downshift.models.images.errors import NotAnImage
from downshift.models.spec import InputSpec

if TYPE_CHECKING:
    from pathlib import Path

SPEC = InputSpec("image", 3, 4, 6, (0.5, 0.25, 0.125), (0.5, 0.5, 1.0))
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), np.uint8)
EXPECTED = ((PIXELS / np.float32(255) - np.float32(SPEC.mean)) / np.float32(SPEC.std)).transpose(0, 3, 1, 2)


def png(index: int) -> bytes:
    file = BytesIO()
    Image.fromarray(PIXELS[index]).save(file, "PNG")
    return file.getvalue()


def test_a_path_bytes_an_image_and_pixels_are_the_same_input(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(0))
    for one in (path, str(path), png(0), Image.fromarray(PIXELS[0]), PIXELS[:1], EXPECTED[:1]):
        found = to_inputs(one, SPEC)
        assert (found.dtype, found.shape, found.flags.c_contiguous) == (np.float32, (1, 3, 4, 6), True)
        np.testing.assert_allclose(found, EXPECTED[:1], atol=1e-6)


def test_several_come_in_their_order_whatever_they_are(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(png(1))
    np.testing.assert_allclose(to_inputs([png(0), tmp_path / "b.png"], SPEC), EXPECTED, atol=1e-6)
    np.testing.assert_allclose(to_inputs((Image.fromarray(PIXELS[1]),), SPEC), EXPECTED[1:], atol=1e-6)
    np.testing.assert_allclose(to_inputs(PIXELS, SPEC), EXPECTED, atol=1e-6)


def test_an_image_turned_by_its_exif_is_the_same_opened_or_not(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    path = tmp_path / "turned.png"
    Image.fromarray(PIXELS[0]).save(path, exif=exif)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(to_inputs(opened, SPEC), to_inputs(path, SPEC))
    np.testing.assert_allclose(to_inputs(path, SPEC), EXPECTED[:1, :, ::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (PIXELS[0], r"array of uint8 \[4, 6, 3\]: give float32 \[n, 3, 4, 6\], .* uint8 \[n, 4, 6, 3\]"),
        (PIXELS.transpose(0, 3, 1, 2), r"array of uint8 \[2, 3, 4, 6\]"),
        (EXPECTED.astype(np.float64), r"array of float64 \[2, 3, 4, 6\]"),
        (EXPECTED[:0], "give at least one image"),
        (PIXELS[:0], "give at least one image"),
        ([], "an empty sequence of images: give at least one"),
        (7, "images of type int: give a path, bytes, a PIL image"),
        ([PIXELS[0]], "an image of type ndarray in a sequence"),
    ],
)
def test_anything_else_is_refused_with_what_is_accepted(images: Any, message: str) -> None:
    with pytest.raises(InvalidImages, match=message):
        to_inputs(images, SPEC)


def test_a_file_that_is_no_image_or_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotAnImage, match="send one of those"):
        to_inputs(b"hello", SPEC)
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        to_inputs(tmp_path / "absent.png", SPEC)
