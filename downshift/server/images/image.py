"""From the bytes of a picture to the network's input, by the rule the manifest writes down.

Free of the web stack, so that the command line can use it too. What a file is, its content decides
and not its name; and its pixel count is known, and refused, before one pixel is decoded.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops

from downshift.server.errors import BrokenImage, ImageFault, ImageTooLarge, NotAnImage, UnsupportedMedia
from downshift.server.images.jpeg import MAX_EXIF, check_jpeg
from downshift.server.images.pixels import normalise
from downshift.server.images.tiff import check_tiff

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from downshift.models.spec import InputSpec

MAX_PIXELS = 50_000_000
MOST_PIXELS = 178_956_970  # where Pillow gives up, whatever it is told
REDUCING_GAP = 2  # how far above the input's size a JPEG may be scaled down while it is decoded

_FILTER = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_MODE = {1: "L", 3: "RGB"}
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


@dataclass(frozen=True)
class Format:
    """A kind of file that is read: Pillow's name of it, how it begins, what to look at before Pillow does.

    check: given the file and the pixel limit, raises an `ImageFault` or `UnsupportedMedia`.
    """

    name: str
    begins: re.Pattern[bytes]
    check: Callable[[bytes, int], None] | None = None


FORMATS = (
    Format("JPEG", re.compile(rb"\xff\xd8\xff"), check_jpeg),
    Format("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    Format("WebP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    Format("GIF", re.compile(rb"GIF8[79]a")),
    Format("BMP", re.compile(rb"BM")),
    Format("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]"), check_tiff),
)
NAMES = ", ".join(each.name for each in FORMATS[:-1]) + f" or {FORMATS[-1].name}"


def warm_up() -> None:
    """Read one small picture of every format: Pillow loads a decoder when it is first needed, and no client
    shall wait for that.
    """
    Image.init()
    for kind in FORMATS:
        name = kind.name.upper()
        if name in Image.SAVE:  # a Pillow may have been built without
            file = io.BytesIO()
            Image.new("RGB", (8, 8)).save(file, name)
            read_image(file.getvalue())


def read_input(data: bytes, spec: InputSpec, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.float32]:
    """The network's input, float32 [1, C, H, W], for the picture in a file's bytes; raises as `read_image`.

    A JPEG that is much larger than the network looks at is scaled down while it is decoded.
    """
    enough = REDUCING_GAP * (spec.resize or max(spec.height, spec.width))
    return preprocess(read_image(data, max_pixels=max_pixels, enough=enough), spec)


def read_image(data: bytes, *, max_pixels: int = MAX_PIXELS, enough: int | None = None) -> Image.Image:
    """The first frame of a file in one of `FORMATS`, in colour or grey of 8 bits, upright, on white.

    enough: pixels on either side that will do; a JPEG may then come with fewer than it has, but not
    fewer than that.

    Raises `NotAnImage` for a file of another kind, `UnsupportedMedia` for a rare variant that is not read,
    `ImageTooLarge` before decoding more than `max_pixels`, and `BrokenImage` when the file is truncated,
    corrupt, or so made that reading it would cost out of all proportion.
    """
    kind = next((each for each in FORMATS if each.begins.match(data)), None)
    if kind is None:
        raise NotAnImage(f"the file is not a {NAMES} image: send one of those")
    if kind.check is not None:
        kind.check(data, max_pixels)
    try:
        image = Image.open(io.BytesIO(data), formats=[kind.name.upper()])
        _check_size(image, max_pixels)
        if len(image.info.get("exif") or b"") > MAX_EXIF:
            raise BrokenImage(f"the image has more than {MAX_EXIF} bytes of EXIF: save it without")
        if enough is not None:
            image.draft(None, (enough, enough))
        image.load()
        return _flatten(_turned(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(f"the image has more than {max_pixels} pixels: scale it down") from None
    except (ImageFault, UnsupportedMedia):
        raise
    except Exception as error:  # Pillow raises whatever a hostile file provokes; all mean the same
        raise BrokenImage(f"the {kind.name} image is truncated or corrupt: send it whole") from error


def preprocess(image: Image.Image, spec: InputSpec) -> NDArray[np.float32]:
    """The network's input for one picture: float32 [1, C, H, W], C-contiguous.

    `spec` is the manifest's rule: resize the shorter side (or the whole picture to H x W), cut out
    the centre, scale bytes to [0, 1], subtract the mean and divide by the deviation.
    """
    flat = _flatten(image).convert(_MODE[spec.channels])
    size, box = (spec.width, spec.height), _visible(flat.size, spec)
    pixels = np.asarray(flat.resize(size, _FILTER[spec.interpolation], box), dtype=np.uint8)
    rows_first = pixels.reshape(1, spec.height, spec.width, spec.channels)
    return normalise(rows_first.transpose(0, 3, 1, 2), spec)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the image has {width} x {height} pixels, more than the {max_pixels} accepted: scale it down"
        )


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


def _turned(image: Image.Image) -> Image.Image:
    """The decoded picture turned as its EXIF or XMP says; Pillow has turned a TIFF by itself."""
    if image.format == "TIFF":
        return image
    try:
        method = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  viewers show a picture with damaged EXIF as it lies; so do we
        method = None
    if method is None:
        return image
    turned = image.transpose(method)
    turned.info = image.info
    turned.format = image.format
    return turned


def _flatten(image: Image.Image) -> Image.Image:
    """The picture in mode L or RGB: 16-bit greys scaled down, transparency laid over white, inks as light."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_deep_grey(image)
    if image.mode == "CMYK":
        # Pillow takes every JPEG for Adobe's, which stores inks inverted.
        plain = image.format in ("JPEG", "MPO") and "adobe" not in image.info
        return (ImageChops.invert(image) if plain else image).convert("RGB")
    if image.mode in ("F", "LAB"):
        raise UnsupportedMedia(f"pixels of kind {image.mode} are not read here: save the image as RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGB", image.size, "white")
        paper.paste(image, mask=image)
        return paper
    return image.convert("L" if image.mode == "1" else "RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """8 bits of a grey picture that has 12 or 16."""
    pixels = np.asarray(image)
    if pixels.min() < 0 or pixels.max() > np.iinfo(np.uint16).max:
        raise UnsupportedMedia("grey values beyond 16 bits are not read here: save the image with 8 or 16")
    tags = getattr(image, "tag_v2", {})
    twelve = tags.get(_BITS) == (12,)
    grey = (pixels >> (4 if twelve else 8)).astype(np.uint8)
    if image.mode != "I" and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = ~grey
    clear = image.info.get("transparency")
    if clear is not None:
        grey[pixels == clear] = np.iinfo(np.uint8).max
    return Image.fromarray(grey)
