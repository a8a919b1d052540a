"""Triton's model repository extension: index, load, unload.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from downshift.server.connection.body import read_body
from downshift.server.connection.error_middleware import JsonResponse
from downshift.server.connection.keys import Keys, sent_keys
from downshift.server.errors import BadInput, Forbidden, Unauthorized
from downshift.server.repository.repository import Repository

LARGEST = 64 * 1024  # bytes of a request; its parameters are a path


def control_router(repository: Repository, admins: Keys) -> APIRouter:
    """All routes below /v2/repository. `admins`: keys that may load and unload; none disables both."""
    router = APIRouter(prefix="/v2/repository", tags=["V2 model repository extension"])

    def authorise(request: Request) -> None:
        if not admins:
            raise Forbidden(
                "loading and unloading over HTTP is off: start the server with an administrator's key "
                "(DOWNSHIFT_ADMIN_KEYS or DOWNSHIFT_ADMIN_KEYS_FILE)"
            )
        if not admins.accept(sent_keys(request.headers.raw)):
            raise Unauthorized("an administrator's key is needed: send it as Authorization: Bearer KEY")

    @router.post("/index", openapi_extra=_BODY)
    async def index(request: Request) -> Response:
        """All models with their state (READY, LOADING, UNAVAILABLE) and its reason."""
        wanted = await _fields(request)
        ready = wanted.get("ready", False)
        if not isinstance(ready, bool):
            raise BadInput("ready: give true for only those that are ready, or false")
        entries = [entry for entry in repository.index if not ready or entry.state == "READY"]
        return JsonResponse(
            [
                {"name": entry.name, "version": entry.version, "state": entry.state, "reason": entry.reason}
                for entry in entries
            ]
        )

    @router.post("/models/{name}/load", openapi_extra=_BODY)
    async def load(request: Request, name: str) -> Response:
        """Load the model's file again, or parameters.path in the model folder, and hot-swap to it."""
        authorise(request)
        parameters = _parameters(await _fields(request), "path")
        path = parameters.get("path")
        if path is not None and not isinstance(path, str):
            raise BadInput("parameters.path: give a text, relative to the server's model folder")
        model = await repository.load(name, path)
        return JsonResponse({"name": model.name, "version": model.version})

    @router.post("/models/{name}/unload", openapi_extra=_BODY)
    async def unload(request: Request, name: str) -> Response:
        """Unload the model; its requests in flight complete."""
        authorise(request)
        _parameters(await _fields(request), "unload_dependents")
        await repository.unload(name)
        return JsonResponse({})

    return router


async def _fields(request: Request) -> dict[str, Any]:
    body = await read_body(request, LARGEST, required=False)
    try:
        fields = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the body is not JSON: {error.msg} at byte {error.pos}") from None
    if not isinstance(fields, dict):
        raise BadInput("the body is no JSON object: send {} or nothing")
    return fields


def _parameters(fields: dict[str, Any], *known: str) -> dict[str, Any]:
    parameters = fields.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise BadInput("parameters: send an object")
    if unknown := sorted(set(parameters) - set(known)):
        raise BadInput(f"parameters.{unknown[0][:40]}: not supported here; {' and '.join(known)} is")
    return parameters


_BODY = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": {"parameters": {"type": "object"}}},
            }
        },
    }
}
