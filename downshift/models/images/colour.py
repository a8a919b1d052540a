"""Any kind of pixel as 8 bits of grey or colour: palettes, transparency, inks, and 12 or 16 bits of grey."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops

from downshift.models.images.errors import UnsupportedImage

_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF tags, and a value of the second


def flatten(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB: 16-bit greys scaled down, transparency over white, CMYK as RGB.

    Raises `UnsupportedImage` for pixels without an agreed white point: floats, Lab, greys beyond 16 bits.
    """
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_deep_grey(image)
    if image.mode == "CMYK":
        # Pillow takes every JPEG for Adobe's, which stores inks inverted.
        plain = image.format in ("JPEG", "MPO") and "adobe" not in image.info
        return (ImageChops.invert(image) if plain else image).convert("RGB")
    if image.mode in ("F", "LAB"):
        raise UnsupportedImage(f"pixels of kind {image.mode} are not read here", "save the image as RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGB", image.size, "white")
        background.paste(image, mask=image)
        return background
    return image.convert("L" if image.mode == "1" else "RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """8 bits of a grey picture that has 12 or 16."""
    pixels = np.asarray(image)
    if pixels.min() < 0 or pixels.max() > np.iinfo(np.uint16).max:
        raise UnsupportedImage("grey values beyond 16 bits are not read here", "save the image with 8 or 16")
    tags = getattr(image, "tag_v2", {})
    twelve = tags.get(_BITS) == (12,)
    grey = (pixels >> (4 if twelve else 8)).astype(np.uint8)
    if image.mode != "I" and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = ~grey
    clear = image.info.get("transparency")
    if clear is not None:
        grey[pixels == clear] = np.iinfo(np.uint8).max
    return Image.fromarray(grey)
