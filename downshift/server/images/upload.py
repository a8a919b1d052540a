"""The image file inside a request body: the body itself, a form's file, or base64 in JSON."""

from __future__ import annotations

import base64
import binascii
import re

import orjson

from downshift.server.errors import BadInput
from downshift.server.images.multipart import image_part

_MEMBER = "image"
_JSON = re.compile(r"application/([\w.-]+\+)?json\s*(;|$)", re.IGNORECASE)
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_SPACE = str.maketrans("", "", " \t\r\n")  # tools break base64 into lines


def image_file(body: bytes, content_type: str) -> bytes:
    """The bytes of the image file in a body of that type; raises `BadInput`."""
    if content_type.lower().startswith("multipart/"):
        return image_part(body, content_type)
    if _JSON.match(content_type):
        return _base64_member(body)
    return body


def _base64_member(body: bytes) -> bytes:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the body is not valid JSON: {error}") from None
    text = document.get(_MEMBER) if isinstance(document, dict) else None
    if not isinstance(text, str):
        raise BadInput(f"the JSON body must be an object with the image in base64: {{'{_MEMBER}': '...'}}")
    if url := _DATA_URL.match(text):
        text = text[url.end() :]
    try:
        return base64.b64decode(text.translate(_SPACE), validate=True)
    except (binascii.Error, ValueError):
        raise BadInput(f"{_MEMBER} is not base64: encode the image file, or a data: URL of it") from None
