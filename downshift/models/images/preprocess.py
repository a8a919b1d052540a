"""Preprocessing: from an image to the network's input, by the resize and crop rule of the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from downshift.models.images.colour import flatten
from downshift.models.images.reader import MAX_PIXELS, read_image
from downshift.models.pixels import normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from downshift.models.spec import InputSpec

REDUCING_GAP = 2  # how far above the resized image a JPEG may be scaled down while it is decoded

_FILTER = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_MODE = {1: "L", 3: "RGB"}


def read_input(data: bytes, spec: InputSpec, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.float32]:
    """The network's input, float32 [1, C, H, W], for an image file's bytes; raises as `read_image`."""
    return _batched(read_pixels(data, spec, max_pixels=max_pixels), spec)


def read_pixels(data: bytes, spec: InputSpec, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """uint8 [H, W, C]: the resized and cropped image of a file's bytes; raises as `read_image`.

    A JPEG that is much larger than the network looks at is scaled down while it is decoded.
    """
    enough = REDUCING_GAP * (spec.resize or max(spec.height, spec.width))
    return resize_and_crop(read_image(data, max_pixels=max_pixels, enough=enough), spec)


def preprocess(image: Image.Image, spec: InputSpec) -> NDArray[np.float32]:
    """The network's input for one image: float32 [1, C, H, W], C-contiguous.

    `spec` is the manifest's rule: resize the shorter side (or the whole image to H x W), cut out
    the centre, scale bytes to [0, 1], subtract the mean and divide by the deviation.
    """
    return _batched(resize_and_crop(image, spec), spec)


def resize_and_crop(image: Image.Image, spec: InputSpec) -> NDArray[np.uint8]:
    """uint8 [H, W, C]: the shorter side resized to `spec.resize` (without one, the whole image to H x W)
    and the centre cut out.
    """
    flat = flatten(image).convert(_MODE[spec.channels])
    size, box = (spec.width, spec.height), _visible(flat.size, spec)
    pixels = np.asarray(flat.resize(size, _FILTER[spec.interpolation], box), dtype=np.uint8)
    return pixels.reshape(spec.height, spec.width, spec.channels)


def _batched(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    return normalise(pixels.transpose(2, 0, 1)[np.newaxis], spec)


def _visible(size: tuple[int, int], spec: InputSpec) -> tuple[float, float, float, float]:
    """The part (left, top, right, bottom) of an image of that size that ends up in the input.

    Resizing only this part equals, up to rounding, resizing the whole and cutting out the centre, whose
    left and top edges fall on whole pixels of the resized image. The whole is never made: of an image
    one pixel high it could be larger than memory.
    """
    width, height = size
    if spec.resize is None:
        return 0.0, 0.0, width, height
    shorter = min(size)
    resized_width, resized_height = (spec.resize * side // shorter for side in size)
    across, down = width / resized_width, height / resized_height
    left, top = round((resized_width - spec.width) / 2), round((resized_height - spec.height) / 2)
    return left * across, top * down, (left + spec.width) * across, (top + spec.height) * down
