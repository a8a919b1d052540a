"""Training, evaluation and serving see the same pixels of the same file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from downshift.models.images.preprocess import read_input
from downshift.trainer.data.class_folders import Files
from downshift.trainer.data.image_folder import FolderBatches, FolderDataset, evaluation_batches
from tests.models.images.pictures import encoded, noise, picture

if TYPE_CHECKING:
    from collections.abc import Callable

CPU = torch.device("cpu")
ORIENTATIONS = range(1, 9)


def deep_grey(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def transparent(image: Image.Image) -> Image.Image:
    made = image.convert("RGBA")
    made.putalpha(image.convert("L"))
    return made


def bits(image: Image.Image) -> Image.Image:
    return image.convert("1", dither=Image.Dither.NONE)


def palette(image: Image.Image) -> Image.Image:
    return image.quantize(17)


def mode(name: str) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.convert(name)


# What each format can hold, as (what the image is made into, how it is saved).
WAYS: dict[str, tuple[str, Callable[[Image.Image], Image.Image], dict[str, Any]]] = {
    "jpeg": ("JPEG", mode("RGB"), {}),
    "progressive jpeg": ("JPEG", mode("RGB"), {"progressive": True}),
    "grey jpeg": ("JPEG", mode("L"), {}),
    "cmyk jpeg": ("JPEG", mode("CMYK"), {}),
    "png": ("PNG", mode("RGB"), {}),
    "grey png": ("PNG", mode("L"), {}),
    "grey alpha png": ("PNG", mode("LA"), {}),
    "bit png": ("PNG", bits, {}),
    "16-bit png": ("PNG", deep_grey, {}),
    "transparent png": ("PNG", transparent, {}),
    "palette png": ("PNG", palette, {}),
    "transparent palette png": ("PNG", palette, {"transparency": 0}),
    "one clear colour": ("PNG", mode("RGB"), {"transparency": (0, 0, 0)}),
    "webp": ("WEBP", mode("RGB"), {}),
    "transparent webp": ("WEBP", transparent, {"lossless": True}),
    "gif": ("GIF", palette, {}),
    "transparent gif": ("GIF", palette, {"transparency": 0}),
    "bmp": ("BMP", mode("RGB"), {}),
    "tiff": ("TIFF", mode("RGB"), {}),
    "cmyk tiff": ("TIFF", mode("CMYK"), {}),
    "16-bit tiff": ("TIFF", deep_grey, {}),
    "transparent tiff": ("TIFF", transparent, {}),
}


def file_of(way: str, image: Image.Image, orientation: int = 1) -> bytes:
    kind, make, options = WAYS[way]
    turned = {} if kind in ("GIF", "BMP") else {"exif": oriented(orientation)}
    return encoded(make(image), kind, **options, **turned)


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def dataset(file: Path, *, size: int, resize: int, copies: int = 1) -> FolderDataset:
    files = Files((str(file),) * copies, (0,) * copies)
    return FolderDataset("photos", ("one",), files, files, files, size=size, resize=resize)


@settings(max_examples=120)
@given(
    st.sampled_from(sorted(WAYS)),
    st.sampled_from(ORIENTATIONS),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(4, 24),
    st.integers(0, 8),
)
def test_evaluation_sees_what_the_server_sees(
    way: str, orientation: int, shape: tuple[int, int], size: int, margin: int
) -> None:
    data = file_of(way, picture(noise(*shape)), orientation)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.jpg"  # its content decides what it is
        file.write_bytes(data)
        found = dataset(file, size=size, resize=size + margin)
        ((images, _),) = evaluation_batches(found, "test", device=CPU, loaders=0)
    served = read_input(data, found.image)
    pixels = np.abs(images.numpy() - served) * np.reshape(found.image.std, (3, 1, 1))
    assert images.shape == served.shape
    assert pixels.max() <= 1 / 255


@pytest.mark.parametrize("way", sorted(WAYS))
def test_training_crops_show_the_colour_that_the_server_sees(way: str, tmp_path: Path) -> None:
    """Every crop of a plain image is the image, whatever the augmentation draws."""
    file = tmp_path / "plain"
    file.write_bytes(file_of(way, Image.new("RGB", (40, 30), (190, 120, 60))))
    found = dataset(file, size=8, resize=10, copies=6)
    batches = FolderBatches(found, batch_size=6, seed=0, device=CPU, loaders=0)
    served = read_input(file.read_bytes(), found.image)
    for images, _ in batches.epoch(0):
        difference = np.abs(images.numpy() - served) * np.reshape(found.image.std, (3, 1, 1))
        assert difference.max() <= 3 / 255


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_training_crops_are_upright(orientation: int, tmp_path: Path) -> None:
    """Dark above, bright below once upright: then the first row of no crop is brighter than its last."""
    lying = {1: "0", 2: "0", 3: "3", 4: "3", 5: "left", 6: "left", 7: "right", 8: "right"}[orientation]
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[:, np.newaxis], (1, 64))
    stored = {"0": ramp, "3": ramp[::-1], "left": ramp.T, "right": ramp.T[:, ::-1]}[lying]
    file = tmp_path / "ramp.png"
    file.write_bytes(encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=oriented(orientation)))
    found = dataset(file, size=8, resize=10, copies=8)
    for images, _ in FolderBatches(found, batch_size=8, seed=0, device=CPU, loaders=0).epoch(0):
        assert (images[:, :, 0].mean((1, 2)) < images[:, :, -1].mean((1, 2))).all()


def test_a_jpeg_is_scaled_down_in_training_only_as_far_as_the_smallest_crop_allows(tmp_path: Path) -> None:
    """Stripes that a quarter of the size still shows, and an eighth would turn to grey."""
    stripes = np.tile(np.repeat(np.array([0, 255], np.uint8), 4), (460, 58))[:, :460]
    file = tmp_path / "stripes.jpg"
    file.write_bytes(encoded(Image.fromarray(stripes), "JPEG", quality=95))
    found = dataset(file, size=32, resize=36, copies=20)
    ((images, _),) = FolderBatches(found, batch_size=20, seed=0, device=CPU, loaders=0).epoch(0)
    assert max(float(image.max() - image.min()) for image in images) > 2
