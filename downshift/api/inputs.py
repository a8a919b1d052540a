"""From whatever holds images to the network's input."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from downshift.api.errors import InvalidImages
from downshift.models.images.preprocess import preprocess, read_input
from downshift.models.images.reader import upright
from downshift.models.pixels import normalise

if TYPE_CHECKING:
    from downshift.models.spec import InputSpec

Image: TypeAlias = str | PathLike[str] | bytes | PIL.Image.Image
Images: TypeAlias = Image | Sequence[Image] | NDArray[np.float32] | NDArray[np.uint8]


def to_inputs(images: Images, spec: InputSpec) -> NDArray[np.float32]:
    """float32 [n, C, H, W], n >= 1, normalised: what the network takes.

    images: a path, the bytes of a file, a PIL image or a sequence of those, which are resized and cropped by
    the manifest's rule; or an array, as `_from_array` says.
    Raises `InvalidImages`, `ImageError` for a file that is no usable image, `OSError` for a missing one.
    """
    if isinstance(images, np.ndarray):
        return _from_array(images, spec)
    several = [images] if isinstance(images, str | PathLike | bytes | PIL.Image.Image) else images
    if not isinstance(several, Sequence):
        raise InvalidImages(f"images of type {type(images).__name__}: give {_accepted(spec)}")
    if not several:
        raise InvalidImages("an empty sequence of images: give at least one")
    return np.concatenate([_read(image, spec) for image in several])


def _read(image: Image, spec: InputSpec) -> NDArray[np.float32]:
    if isinstance(image, bytes):
        return read_input(image, spec)
    if isinstance(image, str | PathLike):
        return read_input(Path(image).read_bytes(), spec)
    if isinstance(image, PIL.Image.Image):
        return preprocess(upright(image), spec)
    raise InvalidImages(f"an image of type {type(image).__name__} in a sequence: give {_accepted(spec)}")


def _from_array(array: NDArray[np.float32] | NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """float32 [n, C, H, W] as it is; uint8 [n, H, W, C], pixels of the network's size, normalised."""
    channels, height, width = spec.shape
    if array.dtype == np.float32 and array.ndim == 1 + len(spec.shape) and array.shape[1:] == spec.shape:
        inputs = np.ascontiguousarray(array, np.float32)
    elif array.dtype == np.uint8 and array.shape[1:] == (height, width, channels):
        inputs = normalise(array.astype(np.uint8, copy=False).transpose(0, 3, 1, 2), spec)
    else:
        raise InvalidImages(
            f"array of {array.dtype} {list(array.shape)}: give float32 [n, {channels}, {height}, {width}], "
            f"normalised, or uint8 [n, {height}, {width}, {channels}], pixels; or PIL images of any size"
        )
    if not len(inputs):
        raise InvalidImages(f"array of {array.dtype} {list(array.shape)}: give at least one image")
    return inputs


def _accepted(spec: InputSpec) -> str:
    return f"a path, bytes, a PIL image, a list of those, or an array [n, {', '.join(map(str, spec.shape))}]"
