"""From the bytes of a picture to the network's input, by the rule the manifest writes down.

Free of the web stack, so that the command line can use it too. What a file is, its content decides
and not its name; and its pixel count is known, and refused, before one pixel is decoded.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from server.errors import BrokenImage, ImageTooLarge, NotAnImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.spec import InputSpec

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 50_000_000
_FILTER = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_MODE = {1: "L", 3: "RGB"}


def read_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The first frame of a JPEG, PNG or WebP file, decoded and turned upright by its EXIF orientation.

    Raises `NotAnImage` for anything else, `ImageTooLarge` before decoding more than `max_pixels`,
    and `BrokenImage` when the file is truncated or corrupt.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(f"the image has more than {max_pixels} pixels: scale it down") from None
    except Exception:  # noqa: BLE001  Pillow raises whatever a hostile header provokes; all mean the same
        raise NotAnImage("the upload is not a JPEG, PNG or WebP image: send one of those") from None
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the image has {width} x {height} pixels, more than the {max_pixels} accepted: scale it down"
        )
    try:
        image.load()
        return ImageOps.exif_transpose(image)
    except Exception as error:
        raise BrokenImage(f"the {image.format} image is truncated or corrupt: send it whole") from error


def preprocess(image: Image.Image, spec: InputSpec) -> NDArray[np.float32]:
    """The network's input for one picture: float32 [1, C, H, W], C-contiguous.

    `spec` is the manifest's rule: resize the shorter side (or the whole picture to H x W), cut out
    the centre, scale bytes to [0, 1], subtract the mean and divide by the deviation.
    """
    flat = _flatten(image, _MODE[spec.channels])
    size, box = (spec.width, spec.height), _visible(flat.size, spec)
    pixels = np.asarray(flat.resize(size, _FILTER[spec.interpolation], box), dtype=np.float32)
    mean, std = np.asarray(spec.mean, dtype=np.float32), np.asarray(spec.std, dtype=np.float32)
    scaled = (pixels.reshape(spec.height, spec.width, spec.channels) / np.float32(255.0) - mean) / std
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[np.newaxis], dtype=np.float32)


def _visible(size: tuple[int, int], spec: InputSpec) -> tuple[float, float, float, float]:
    """The part (left, top, right, bottom) of a picture of that size that ends up in the input.

    Resizing only this part equals, up to rounding, resizing the whole and cutting out the centre, whose
    left and top edges fall on whole pixels of the resized picture. The whole is never made: of a picture
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


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    """The picture in 8-bit `mode`: 16-bit greys scaled down, transparency laid over white."""
    if image.mode.startswith("I"):
        grey = np.clip(np.asarray(image, dtype=np.int64) >> 8, 0, 255).astype(np.uint8)
        image = Image.fromarray(grey)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return image.convert(mode)
