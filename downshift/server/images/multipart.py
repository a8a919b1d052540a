"""The image inside a `multipart/form-data` body, in memory and in one pass."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from downshift.server.errors import BadInput

MAX_PARTS = 32
NAMES = (b"image", b"file")

_QUOTED = re.compile(rb'"(?:\\.|[^"\\])*"')
_EXTENDED_FILENAME = re.compile(rb";\s*filename\*(\d+\*?)?\s*=", re.IGNORECASE)  # RFC 8187 and RFC 2231


@dataclass
class _Part:
    name: bytes = b""
    is_file: bool = False
    chunks: list[bytes] = field(default_factory=list)


class _Parts:
    """Collects the parts of one body from the parser's callbacks."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.ended = False
        self._header = self._value = b""

    def on_part_begin(self) -> None:
        if len(self.parts) == MAX_PARTS:
            raise BadInput(f"the multipart body has more than {MAX_PARTS} parts: send the image alone")
        self.parts.append(_Part())

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        part, header = self.parts[-1], self._header.lower()
        if header == b"content-disposition":
            _, options = parse_options_header(self._value)
            part.name = options.get(b"name", b"")
            extended = _EXTENDED_FILENAME.search(_QUOTED.sub(b"", self._value))  # the parser drops these
            part.is_file |= b"filename" in options or extended is not None
        elif header == b"content-type":
            part.is_file |= self._value.lower().startswith(b"image/")
        self._header = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].chunks.append(data[start:end])

    def on_end(self) -> None:
        self.ended = True


def image_part(body: bytes, content_type: str) -> bytes:
    """The content of the part named `image` or `file`, or else of the first file; raises `BadInput`.

    A part is a file if it has a file name, `filename` or `filename*`, or an image's content type.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadInput("Content-Type multipart/form-data has no boundary: let the client library set it")
    collected = _Parts()
    callbacks = {name: getattr(collected, name) for name in dir(collected) if name.startswith("on_")}
    try:
        parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise BadInput("the multipart body is malformed: send one file in a field named 'image'") from None
    if not collected.ended:
        raise BadInput("the multipart body ends before its closing boundary: send it whole")
    named = [part for part in collected.parts if part.name in NAMES]
    files = [part for part in collected.parts if part.is_file]
    for part in named + files:
        return b"".join(part.chunks)
    raise BadInput("the multipart body holds no file: send one in a field named 'image'")
