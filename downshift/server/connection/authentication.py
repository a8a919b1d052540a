"""ASGI middleware that authenticates requests by API key; health checks need none."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from downshift.server.connection.keys import decodings, sent_keys
from downshift.server.errors import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from downshift.server.connection.keys import Keys

HEALTH = ("/v2/health/live", "/v2/health/ready")
METRICS = "/metrics"
_BASIC = b"basic "


class AuthenticationMiddleware:
    """Rejects every request without a valid API key with 401, before a byte of its body is read.

    `open_paths` need none. A browser sends a key as the password of HTTP Basic, so that the page works.
    """

    def __init__(self, app: ASGIApp, *, keys: Iterable[Keys], open_paths: Iterable[str]) -> None:
        self._app = app
        self._keys = tuple(keys)
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or raise `Unauthorized`."""
        if scope["type"] == "http" and scope["path"] not in self._open:
            sent = [*sent_keys(scope["headers"]), *_passwords(scope["headers"])]
            accepted = [keys.accept(sent) for keys in self._keys]
            if not any(accepted):
                raise Unauthorized("a key is needed: send it as Authorization: Bearer KEY or X-API-Key: KEY")
        await self._app(scope, receive, send)


def _passwords(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    passwords = []
    for name, value in headers:
        if name == b"authorization" and value[: len(_BASIC)].lower() == _BASIC:
            try:
                pair = base64.b64decode(value[len(_BASIC) :].strip(), validate=True)
            except binascii.Error:
                continue
            passwords += decodings(pair.partition(b":")[2])
    return passwords
