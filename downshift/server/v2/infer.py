"""The infer endpoint, and a fast path around the framework's router, the largest cost of a request."""

from __future__ import annotations

import asyncio
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from downshift.server.connection.arrival import unix_arrival
from downshift.server.connection.body import read_body
from downshift.server.connection.compression import IDENTITY, SMALLEST, choose_encoding, deflate
from downshift.server.demand import read_demand
from downshift.server.inference import admitted, infer, reading
from downshift.server.v2.infer_request import LONG, read_infer
from downshift.server.v2.infer_response import write_infer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from downshift.server.catalog import Catalog, Model
    from downshift.server.settings import Settings
    from downshift.server.telemetry.metrics import Metrics
    from downshift.server.v2.infer_response import InferBody

    Handler = Callable[[Request, str, str | None], Awaitable[Response]]

JSON_SIZE = "Inference-Header-Content-Length"
LARGE = LONG
_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")


class Infer:
    """The infer endpoint, called by the fast path and by the router."""

    def __init__(self, catalog: Catalog, metrics: Metrics, settings: Settings) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._max_body_bytes, self._max_batch = settings.max_body_bytes, settings.max_batch
        self._max_budget = settings.max_budget

    async def __call__(self, request: Request, name: str, version: str | None = None) -> Response:
        """Classify a batch within the latency budget that the headers grant."""
        with admitted(self._catalog, self._metrics, name, version) as model:
            return await self._answer(request, model)

    async def _answer(self, request: Request, model: Model) -> Response:
        manifest, statistics = model.backend.manifest, model.statistics
        with reading(model, self._metrics):
            body = await read_body(request, self._max_body_bytes)
            began = time.perf_counter()
            arguments = body, request.headers.get(JSON_SIZE), manifest, self._max_batch
            if len(body) > LARGE:  # off the event loop, which parsing would block
                parsed = await asyncio.to_thread(read_infer, *arguments)
            else:
                parsed = read_infer(*arguments)
            arrived = partial(unix_arrival, request.scope)
            demand = read_demand(
                request.headers.items(), self._max_budget, parsed.timeout, parsed.priority, arrived=arrived
            )
            read = time.perf_counter()
        report = await infer(request, model, parsed.inputs, demand, self._metrics)
        answered = time.perf_counter()
        answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
        if parsed.id is not None:
            answer["id"] = parsed.id
        answer["parameters"] = report.parameters
        reply = write_infer(answer, report.answer.outputs, manifest, parsed.requested)
        response = await _respond(reply, report.headers, request.headers.get("accept-encoding"))
        statistics.coded(read - began, time.perf_counter() - answered)
        return response


class FastPathMiddleware:
    """ASGI middleware that dispatches `POST /v2/models/…/infer` to `infer`, bypassing the router.

    The routes are registered in the router, too, for the OpenAPI document and for 405 responses.
    """

    def __init__(self, app: ASGIApp, infer: Handler) -> None:
        self._app = app
        self._infer = infer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve an infer request; forward any other to the application."""
        found = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if found is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        response = await self._infer(Request(scope, receive), found[1], found[2])
        await response(scope, receive, send)


async def _respond(reply: InferBody, headers: dict[str, str], accepted: str | None) -> Response:
    """The response; content-encoded if the client accepts it and the body has at least SMALLEST bytes."""
    media_type = "application/json"
    if reply.json_size is not None:
        headers[JSON_SIZE] = str(reply.json_size)
        media_type = "application/octet-stream"
    content = reply.content
    if len(content) >= SMALLEST:
        headers["Vary"] = "Accept-Encoding"
        encoding = choose_encoding(accepted)
        if encoding != IDENTITY:
            headers["Content-Encoding"] = encoding
            if len(content) > LARGE:
                content = await asyncio.to_thread(deflate, content, encoding)
            else:
                content = deflate(content, encoding)
    return Response(content, media_type=media_type, headers=headers)
