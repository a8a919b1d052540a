"""The V2 (Open Inference Protocol) endpoints."""

from collections.abc import Iterable

from fastapi import APIRouter
from starlette.responses import Response

from downshift.server.catalog import Catalog, Model
from downshift.server.connection.error_middleware import JsonResponse
from downshift.server.connection.probe import live as live_now
from downshift.server.connection.probe import ready as ready_now
from downshift.server.settings import Settings
from downshift.server.statistics import model_stats
from downshift.server.v2 import schema
from downshift.server.v2.description import model_config, model_metadata, server_metadata
from downshift.server.v2.infer import Infer


def v2_router(catalog: Catalog, endpoint: Infer, settings: Settings, version: str) -> APIRouter:
    """All routes below /v2, for the models of `catalog`."""
    router = APIRouter(prefix="/v2", tags=["V2 inference protocol"])

    # Served by `FastPathMiddleware`; registered here for the OpenAPI document and 405 responses.
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
        return JsonResponse(server_metadata(version))

    @router.get("/health/live", responses=schema.answers(schema.LIVE))
    async def live() -> Response:
        """Liveness: the event loop responds, and every model's execution thread is alive."""
        return JsonResponse(live_now(catalog))

    @router.get("/health/ready", responses=schema.answers(schema.READY))
    async def ready() -> Response:
        """Readiness: every model is loaded and profiled, and the server is not draining."""
        return JsonResponse(ready_now(catalog))

    @router.get("/models", responses=schema.answers(schema.MODELS))
    async def models() -> Response:
        """The models served here."""
        return JsonResponse({"models": [{"name": name} for name in catalog.names]})

    @router.get("/models/stats", responses=schema.answers(schema.STATS))
    async def all_stats() -> Response:
        """Cumulative statistics of every model, in the format of Triton's statistics extension."""
        return _stats(catalog.served)

    @router.get("/models/{name}", responses=schema.answers(schema.METADATA))
    @router.get("/models/{name}/versions/{version}", responses=schema.answers(schema.METADATA))
    async def of_model(name: str, version: str | None = None) -> Response:
        """Inputs and outputs of a model."""
        return JsonResponse(model_metadata(catalog.get(name, version)))

    @router.get("/models/{name}/config", responses=schema.answers(schema.CONFIG))
    @router.get("/models/{name}/versions/{version}/config", responses=schema.answers(schema.CONFIG))
    async def config(name: str, version: str | None = None) -> Response:
        """A model's configuration, in the format of Triton's model configuration extension."""
        return JsonResponse(model_config(catalog.get(name, version), settings.max_batch))

    @router.get("/models/{name}/stats", responses=schema.answers(schema.STATS))
    @router.get("/models/{name}/versions/{version}/stats", responses=schema.answers(schema.STATS))
    async def stats(name: str, version: str | None = None) -> Response:
        """Cumulative statistics of a model, in the format of Triton's statistics extension."""
        return _stats([catalog.get(name, version)])

    @router.get("/models/{name}/ready", responses=schema.answers(schema.MODEL_READY))
    @router.get("/models/{name}/versions/{version}/ready", responses=schema.answers(schema.MODEL_READY))
    async def model_ready(name: str, version: str | None = None) -> Response:
        """The model answers infer requests."""
        model = catalog.admit(name, version)
        return JsonResponse({"name": model.name, "ready": True})

    return router


def _stats(models: Iterable[Model]) -> Response:
    return JsonResponse(
        {
            "model_stats": [
                model_stats(model.name, model.version, model.statistics.snapshot) for model in models
            ]
        }
    )
