"""The management port: health probes and metrics on a listener of their own, isolated from inference."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from downshift.server.connection.authentication import HEALTH
from downshift.server.connection.error_middleware import JsonResponse, error_response
from downshift.server.connection.protocol import ConnectionLimits, HttpProtocol
from downshift.server.errors import Dead, NotReady, ServerFault

if TYPE_CHECKING:
    import socket

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from downshift.runtime.supervisor import Supervisor
    from downshift.server.catalog import Catalog

LIVE, READY = HEALTH
CONNECTIONS = 64  # on such a port


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


def expose(
    catalog: Catalog, metrics: ASGIApp, listener: socket.socket, name: str, supervisor: Supervisor
) -> None:
    """Serve metrics and health on that socket from a loop of its own, on a thread of that name.

    The process that ends takes both along.
    """
    config = uvicorn.Config(
        Probe(catalog, metrics),
        http=partial(HttpProtocol, limits=ConnectionLimits(CONNECTIONS)),  # type: ignore[arg-type]
        ws="none",
        workers=1,
        lifespan="off",
        log_config=None,  # whoever runs the server has its own
        log_level="warning",
        access_log=False,
        server_header=False,
    )

    def serve_metrics() -> None:
        uvicorn.Server(config).run([listener.dup()])  # a server that ends closes what it was given

    supervisor.start(name, serve_metrics)
