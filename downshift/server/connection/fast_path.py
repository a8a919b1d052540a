"""Fast path: infer requests bypass the framework's router, which costs more than the rest of our handling."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.requests import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    Infer = Callable[[Request, str, str | None], Awaitable[Response]]

_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")


class FastPathMiddleware:
    """ASGI middleware that answers `POST /v2/models/…/infer` by `infer` and passes on everything else.

    The router knows these routes as well: it describes them, and refuses other methods.
    """

    def __init__(self, app: ASGIApp, infer: Infer) -> None:
        self._app = app
        self._infer = infer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request or pass it on."""
        found = _INFER.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if found is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        response = await self._infer(Request(scope, receive), found[1], found[2])
        await response(scope, receive, send)
