"""The V2 (Open Inference Protocol) endpoints."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from downshift.server.catalog import Catalog, Model
from downshift.server.connection.body import read_body
from downshift.server.connection.compression import IDENTITY, SMALLEST, choose_encoding, deflate
from downshift.server.connection.error_middleware import Json
from downshift.server.connection.probe import live as live_now
from downshift.server.connection.probe import ready as ready_now
from downshift.server.demand import read_demand
from downshift.server.inference import admitted, counted, infer
from downshift.server.settings import Settings
from downshift.server.statistics import model_stats
from downshift.server.telemetry.metrics import Metrics
from downshift.server.v2 import schema
from downshift.server.v2.description import model_config, model_metadata, server_metadata
from downshift.server.v2.infer_request import LONG, read_infer
from downshift.server.v2.infer_response import InferBody, write_infer

JSON_SIZE = "Inference-Header-Content-Length"
LARGE = LONG


class Infer:
    """The endpoint that infers, for `downshift.server.connection.fast_path` and for the router."""

    def __init__(self, catalog: Catalog, metrics: Metrics, settings: Settings) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._settings = settings

    async def __call__(self, request: Request, name: str, version: str | None = None) -> Response:
        """Classify a batch within the latency budget that the headers grant."""
        with admitted(self._catalog, self._metrics, name, version) as model:
            return await self._answer(request, model)

    async def _answer(self, request: Request, model: Model) -> Response:
        metrics, settings = self._metrics, self._settings
        with counted(metrics):
            manifest, statistics = model.backend.manifest, model.statistics
            with statistics.reading():
                body = await read_body(request, settings.max_body_bytes)
                began = time.perf_counter()
                arguments = body, request.headers.get(JSON_SIZE), manifest, settings.max_batch
                if len(body) > LARGE:  # parsing would hold up everybody else
                    parsed = await asyncio.to_thread(read_infer, *arguments)
                else:
                    parsed = read_infer(*arguments)
                demand = read_demand(
                    request.headers.items(), settings.max_budget, parsed.timeout, parsed.priority
                )
                read = time.perf_counter()
        report = await infer(request, model, parsed.inputs, demand, metrics)
        answered = time.perf_counter()
        answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
        if parsed.id is not None:
            answer["id"] = parsed.id
        answer["parameters"] = report.parameters
        reply = write_infer(answer, report.answer.outputs, manifest, parsed.wish)
        response = await _respond(reply, report.headers, request.headers.get("accept-encoding"))
        statistics.coded(read - began, time.perf_counter() - answered)
        return response


def v2_router(catalog: Catalog, endpoint: Infer, settings: Settings, version: str) -> APIRouter:
    """All routes below /v2, answering for the models of `catalog`."""
    router = APIRouter(prefix="/v2", tags=["V2 inference protocol"])

    # `downshift.server.connection.fast_path` answers these; here they are described
    for path in ("/models/{name}/infer", "/models/{name}/versions/{version}/infer"):
        router.add_api_route(
            path,
            endpoint.__call__,
            methods=["POST"],
            name="model_infer",
            responses=schema.INFER_ANSWERS,
            openapi_extra=schema.INFER,
        )

    @router.get("", responses=schema.answers(schema.SERVER))
    async def metadata() -> Response:
        """Name, version and protocol extensions of this server."""
        return Json(server_metadata(version))

    @router.get("/health/live", responses=schema.answers(schema.LIVE))
    async def live() -> Response:
        """The process answers, and every model's execution thread is alive."""
        return Json(live_now(catalog))

    @router.get("/health/ready", responses=schema.answers(schema.READY))
    async def ready() -> Response:
        """Every model is loaded and profiled, and the server is not shutting down."""
        return Json(ready_now(catalog))

    @router.get("/models", responses=schema.answers(schema.MODELS))
    async def models() -> Response:
        """The models served here."""
        return Json({"models": [{"name": name} for name in catalog.names]})

    @router.get("/models/stats", responses=schema.answers(schema.STATS))
    async def all_stats() -> Response:
        """What every model has answered so far, as Triton's statistics extension has it."""
        return _stats(catalog.served)

    @router.get("/models/{name}", responses=schema.answers(schema.METADATA))
    @router.get("/models/{name}/versions/{version}", responses=schema.answers(schema.METADATA))
    async def of_model(name: str, version: str | None = None) -> Response:
        """Inputs and outputs of a model."""
        return Json(model_metadata(catalog.get(name, version)))

    @router.get("/models/{name}/config", responses=schema.answers(schema.CONFIG))
    @router.get("/models/{name}/versions/{version}/config", responses=schema.answers(schema.CONFIG))
    async def config(name: str, version: str | None = None) -> Response:
        """A model's configuration, as Triton's model configuration extension has it."""
        return Json(model_config(catalog.get(name, version), settings.max_batch))

    @router.get("/models/{name}/stats", responses=schema.answers(schema.STATS))
    @router.get("/models/{name}/versions/{version}/stats", responses=schema.answers(schema.STATS))
    async def stats(name: str, version: str | None = None) -> Response:
        """What a model has answered so far, as Triton's statistics extension has it."""
        return _stats([catalog.get(name, version)])

    @router.get("/models/{name}/ready", responses=schema.answers(schema.MODEL_READY))
    @router.get("/models/{name}/versions/{version}/ready", responses=schema.answers(schema.MODEL_READY))
    async def model_ready(name: str, version: str | None = None) -> Response:
        """The model answers infer requests."""
        model = catalog.admit(name, version)
        return Json({"name": model.name, "ready": True})

    return router


async def _respond(reply: InferBody, headers: dict[str, str], accepted: str | None) -> Response:
    """The response, compressed where the client accepts that and the body is worth it."""
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


def _stats(models: Iterable[Model]) -> Response:
    return Json(
        {
            "model_stats": [
                model_stats(model.name, model.version, model.statistics.snapshot) for model in models
            ]
        }
    )
