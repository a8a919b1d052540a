"""The ASGI application: routes, middleware and lifespan put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from downshift.server.catalog import Catalog
from downshift.server.connection.authentication import HEALTH, METRICS, AuthenticationMiddleware
from downshift.server.connection.error_middleware import ErrorMiddleware, http_error
from downshift.server.connection.head import HeadMiddleware
from downshift.server.connection.keys import AccessKeys
from downshift.server.images.decoders import Decoders
from downshift.server.images.predict import predict_router
from downshift.server.page.events import Feed, events_router
from downshift.server.page.page import assets, page_router
from downshift.server.reload import Reloader
from downshift.server.repository.control import control_router
from downshift.server.repository.repository import Repository
from downshift.server.settings import Settings
from downshift.server.telemetry.exposition import OPENMETRICS, PLAIN
from downshift.server.telemetry.machine_metrics import MachineMetrics
from downshift.server.telemetry.metrics import Metrics, software_version
from downshift.server.telemetry.request_log import RequestLog
from downshift.server.telemetry.triton_metrics import TritonMetrics
from downshift.server.v2.endpoints import v2_router
from downshift.server.v2.infer import FastPathMiddleware, Infer

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "one sentence: what is wrong and the remedy"}},
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request is refused", "content": {"application/json": {"schema": _ERROR}}},
    "5XX": {"description": "It cannot be answered now", "content": {"application/json": {"schema": _ERROR}}},
}


def create_app(
    catalog: Catalog,
    metrics: Metrics,
    settings: Settings,
    repository: Repository | None = None,
    request_log: RequestLog | None = None,
) -> FastAPI:
    """The server's application; it closes the catalog's models when it shuts down.

    repository: hot-swaps the catalog's models; by default nothing does. request_log: where each request's
    record goes; by default nowhere.
    """
    decoders = Decoders(settings.decode_queue)
    feed = Feed(catalog, metrics.history, settings.max_streams)
    log = request_log or RequestLog()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        log.start()
        ticking = asyncio.create_task(catalog.supervisor.run("page-feed", feed.run))
        models = None if repository is None else repository.load_changed
        reloading = asyncio.create_task(catalog.supervisor.run("reload", partial(reloader.run, models)))
        if repository is None:
            yield
        else:
            async with repository.watching() if settings.watch else nullcontext():
                yield
            await repository.close()
        ticking.cancel()
        reloading.cancel()
        await asyncio.to_thread(catalog.close, settings.drain_seconds)
        decoders.close()
        await asyncio.to_thread(log.close)

    reloader = Reloader()
    metrics.registry.register(MachineMetrics(catalog))
    metrics.registry.register(TritonMetrics(catalog))
    version = software_version()
    app = FastAPI(
        title="Downshift",
        version=version,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=_ERRORS,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours, or none: asking costs
    )
    app.state.reloader = reloader
    infer = Infer(catalog, metrics, settings)
    app.add_middleware(HeadMiddleware)
    app.add_middleware(FastPathMiddleware, infer=infer)  # all further out see every request
    keys = AccessKeys(settings.clients, settings.admins)
    app.state.keys = keys
    reloader.watch(
        "administrators' keys", [settings.admin_keys_file], lambda: keys.admins.replace(settings.admins)
    )
    if keys.accepted:
        reloader.watch("API keys", [settings.api_keys_file], lambda: keys.clients.replace(settings.clients))
        open_paths = HEALTH if settings.keyed_metrics else (*HEALTH, METRICS)
        app.add_middleware(AuthenticationMiddleware, keys=keys.accepted, open_paths=open_paths)
    app.add_middleware(ErrorMiddleware, request_log=log)
    app.add_exception_handler(HTTPException, http_error)
    app.include_router(v2_router(catalog, infer, settings, version))
    app.include_router(predict_router(catalog, metrics, settings, decoders))
    app.include_router(page_router(catalog))
    app.include_router(events_router(feed))
    if repository is not None:
        app.include_router(control_router(repository, keys.admins))
    app.include_router(_metrics_router(metrics))
    app.mount("/static", assets(), name="static")
    return app


_TEXTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {form.media_type.partition(";")[0]: {} for form in (PLAIN, OPENMETRICS)}}
}


def _metrics_router(metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=Response, responses=_TEXTS)
    async def scrape(request: Request) -> Response:
        """All metrics, in Prometheus' text format or, where it is accepted, as OpenMetrics."""
        return await metrics.exposition.response(request.headers.get("accept", ""))

    return router
