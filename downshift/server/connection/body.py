"""A request's body, read within a limit; and the moment at which its client hangs up."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from downshift.server.connection.compression import IDENTITY, inflate, read_encoding
from downshift.server.errors import BadInput, BodyTooLarge, ClientGone

if TYPE_CHECKING:
    from starlette.requests import Request

_LENGTH = re.compile(r"[0-9]{1,32}")


async def read_body(request: Request, limit: int, *, required: bool = True) -> bytes:
    """The whole body, inflated if it is gzip or deflate, at most `limit` bytes; if `required`, not empty.

    A body that declares itself longer is refused before a byte of it is read. Raises `BodyTooLarge`,
    `UnsupportedMedia` for another encoding, `BadInput` for an empty or damaged one, `ClientGone`.
    """
    header = request.headers.get("content-encoding")
    encoding = IDENTITY if header is None else read_encoding(header)
    declared = request.headers.get("content-length", "0")
    if not _LENGTH.fullmatch(declared):
        raise BadInput(f"Content-Length {declared[:40]!r} is not a whole number of bytes")
    if int(declared) > limit:
        raise BodyTooLarge(limit)
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge(limit)
            chunks.append(chunk)
    except ClientDisconnect:
        raise ClientGone("the client hung up while sending") from None
    if required and size == 0:
        raise BadInput("the body is empty")
    body = b"".join(chunks)
    if encoding == IDENTITY:
        return body
    content = await asyncio.to_thread(inflate, body, encoding, limit)
    if not content:
        raise BadInput("the body is empty once it is inflated")
    return content
