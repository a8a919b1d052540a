"""The management port: health probes and metrics on a listener of their own, isolated from inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from downshift.server.connection.authentication import HEALTH
from downshift.server.connection.error_middleware import JsonResponse, error_response
from downshift.server.errors import Dead, NotReady, ServerFault

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from downshift.server.catalog import Catalog

LIVE, READY = HEALTH


def live(catalog: Catalog) -> dict[str, bool]:
    """The liveness response; raises `Dead` when only a restart helps."""
    if not catalog.alive:
        raise Dead
    return {"live": True}


def ready(catalog: Catalog) -> dict[str, bool]:
    """The readiness response; raises `NotReady` unless every model serves requests."""
    if not catalog.ready:
        raise NotReady("the server is loading its models or shutting down: try again shortly")
    return {"ready": True}


class Probe:
    """An ASGI application: the two health endpoints; every other path goes to the metrics application."""

    def __init__(self, catalog: Catalog, metrics: ASGIApp) -> None:
        self._catalog = catalog
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        asked = {LIVE: live, READY: ready}.get(scope["path"]) if scope["type"] == "http" else None
        if asked is None:
            await self._metrics(scope, receive, send)
            return
        try:
            response: Response = JsonResponse(asked(self._catalog))
        except ServerFault as error:
            response = error_response(error, "of a probe")
        await response(scope, receive, send)
