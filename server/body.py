"""A request's body, read within a limit; and the moment at which its client hangs up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from server.errors import BadInput, BodyTooLarge, ClientGone, UnsupportedMedia

if TYPE_CHECKING:
    from starlette.requests import Request

_LENGTH = re.compile(r"[0-9]{1,18}")


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, at most `limit` bytes and not empty.

    A body that declares itself longer is refused before a byte of it is read. Raises `BodyTooLarge`,
    `UnsupportedMedia` for a compressed one, `BadInput` for an empty one, `ClientGone`.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedMedia(
            f"Content-Encoding {encoding[:40]!r} is not read here: send the body uncompressed"
        )
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
    if size == 0:
        raise BadInput("the body is empty")
    return b"".join(chunks)
