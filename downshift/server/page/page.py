"""The page at `/`, its assets, and the list of sub-nets it shows."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from downshift.server.catalog import Catalog, Model
from downshift.server.connection.error_middleware import JsonResponse

FOLDER = Path(__file__).parent / "static"
_POLICY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}


class Assets(StaticFiles):
    """Files that a browser asks about every time, so that a newer server is never shown by an older page."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """The file, or that it has not changed."""
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def assets() -> StaticFiles:
    """What the page loads; all of it is in this package."""
    return Assets(directory=FOLDER)


def page_router(catalog: Catalog) -> APIRouter:
    """`GET /` and `GET /subnets`."""
    router = APIRouter(tags=["page"])

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        """The page: live figures, a panel to try the models, their sub-nets."""
        return FileResponse(FOLDER / "index.html", headers=_POLICY)

    @router.get("/subnets")
    async def subnets(request: Request) -> Response:
        """The model's labels, and what each of its sub-nets is worth and costs on this machine."""
        return JsonResponse(describe(catalog.get(request.query_params.get("model"))))

    return router


def describe(model: Model) -> dict[str, Any]:
    """The sub-nets of a model, most accurate first, with their latency for one example in milliseconds."""
    manifest, profile = model.backend.manifest, model.backend.profile
    return {
        "model": model.name,
        "network": manifest.network,
        "synthetic": manifest.provenance.synthetic,
        "labels": manifest.labels,
        "input": manifest.input.shape,
        "subnets": [
            {
                "name": subnet.name,
                "sparsity": subnet.sparsity,
                "accuracy": subnet.accuracy,
                "engine": subnet.engines[1],
                "p50_ms": round(subnet.p50[1] * 1e3, 4),
                "p99_ms": round(subnet.p99[1] * 1e3, 4),
                "dominated": subnet.name in profile.dominated,
            }
            for subnet in profile.subnets
        ],
    }
