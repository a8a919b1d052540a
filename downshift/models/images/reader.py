"""The one reader of image files: from a file's bytes to an upright image of 8-bit grey or colour.

Training, evaluation, `predict` and the server all read with it, so that they see the same pixels. A file's
content decides its format, not its name; its pixel count is checked before one pixel is decoded.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from downshift.models.images.colour import flatten
from downshift.models.images.errors import BrokenImage, ImageError, ImageTooLarge, NotAnImage
from downshift.models.images.jpeg import MAX_EXIF, check_jpeg
from downshift.models.images.png import without_metadata
from downshift.models.images.tiff import check_tiff

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PIXELS = 50_000_000
MOST_PIXELS = 178_956_970  # Pillow refuses more, whatever its settings

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


@dataclass(frozen=True)
class ImageFormat:
    """An accepted format: Pillow's name of it, its magic bytes, and what runs before Pillow.

    check: given the file and the pixel limit, raises an `ImageError`.
    strip: the file without what Pillow need not read; raises an `ImageError`.
    """

    name: str
    magic: re.Pattern[bytes]
    check: Callable[[bytes, int], None] | None = None
    strip: Callable[[bytes], bytes] | None = None


FORMATS = (
    ImageFormat("JPEG", re.compile(rb"\xff\xd8\xff"), check_jpeg),
    ImageFormat("PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), strip=without_metadata),
    ImageFormat("WebP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ImageFormat("GIF", re.compile(rb"GIF8[79]a")),
    ImageFormat("BMP", re.compile(rb"BM")),
    ImageFormat("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]"), check_tiff),
)
MAGIC = 12  # bytes that tell them apart
NAMES = ", ".join(each.name for each in FORMATS[:-1]) + f" or {FORMATS[-1].name}"


def warm_up() -> None:
    """Read one small image of every format: Pillow loads a decoder lazily, and no client should wait."""
    Image.init()
    for kind in FORMATS:
        name = kind.name.upper()
        if name in Image.SAVE:  # a Pillow may have been built without
            file = io.BytesIO()
            Image.new("RGB", (8, 8)).save(file, name)
            read_image(file.getvalue())


def read_image(data: bytes, *, max_pixels: int = MAX_PIXELS, enough: int | None = None) -> Image.Image:
    """The first frame of a file in one of `FORMATS`: mode L or RGB, upright, transparency over white.

    enough: pixels on either side that will do; a JPEG may then come with fewer than it has, but not
    fewer than that.

    Raises `NotAnImage` for a file of another kind, `UnsupportedImage` for a rare variant that is not read,
    `ImageTooLarge` before decoding more than `max_pixels`, and `BrokenImage` when the file is truncated,
    corrupt, or so made that reading it would cost out of all proportion.
    """
    kind = format_of(data)
    if kind.check is not None:
        kind.check(data, max_pixels)
    if kind.strip is not None:
        data = kind.strip(data)
    try:
        image = Image.open(io.BytesIO(data), formats=[kind.name.upper()])
        _check_size(image, max_pixels)
        if len(image.info.get("exif") or b"") > MAX_EXIF:
            raise BrokenImage(f"the image has more than {MAX_EXIF} bytes of EXIF", "save it without")
        if enough is not None:
            image.draft(None, (enough, enough))
        image.load()
        return flatten(upright(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(f"the image has more than {max_pixels} pixels", "scale it down") from None
    except ImageError:
        raise
    except Exception as error:  # Pillow raises whatever a hostile file provokes; all mean the same
        raise BrokenImage(f"the {kind.name} image is truncated or corrupt", "send it whole") from error


def format_of(data: bytes) -> ImageFormat:
    """The format of a file of which these are the first `MAGIC` bytes or more; raises `NotAnImage`."""
    if not data:
        raise NotAnImage("the file is empty", f"send a {NAMES} image")
    kind = next((each for each in FORMATS if each.magic.match(data)), None)
    if kind is None:
        raise NotAnImage(f"the file is not a {NAMES} image", "send one of those")
    return kind


def upright(image: Image.Image) -> Image.Image:
    """The decoded image turned as its EXIF or XMP says; Pillow has turned a TIFF by itself."""
    if image.format == "TIFF":
        return image
    try:
        method = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  viewers ignore damaged EXIF; so do we
        method = None
    if method is None:
        return image
    turned = image.transpose(method)
    turned.info = image.info
    turned.format = image.format
    return turned


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the image has {width} x {height} pixels, more than the {max_pixels} accepted", "scale it down"
        )
