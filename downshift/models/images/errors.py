"""Errors of reading an image file.

ImageError                a file that gives no usable image
├── NotAnImage            bytes in none of the accepted formats, whatever the file's name says
├── UnsupportedImage      a rare variant of an accepted format
├── ImageTooLarge         more pixels than the caller decodes
└── BrokenImage           it begins well and cannot be decoded, or not at a reasonable cost
"""

from __future__ import annotations

from downshift.models.errors import ModelsError


class ImageError(ModelsError):
    """A file that gives no usable image; the text is one sentence, `problem: remedy`."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}: {remedy}")


class NotAnImage(ImageError):  # noqa: N818 - it says what the bytes are not
    """Bytes that are in none of the accepted image formats, whatever their name says."""


class UnsupportedImage(ImageError):  # noqa: N818
    """A compression or kind of pixel that is not read."""


class ImageTooLarge(ImageError):  # noqa: N818
    """An image with more pixels than the caller decodes."""


class BrokenImage(ImageError):  # noqa: N818
    """An image that begins well and cannot be decoded, or not at a reasonable cost."""
