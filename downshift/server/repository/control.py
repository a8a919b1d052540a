"""Triton's model repository extension: index, load, unload.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from downshift.server.catalog import Model
from downshift.server.connection.body import read_body
from downshift.server.connection.error_middleware import JsonResponse
from downshift.server.connection.keys import Keys, sent_keys
from downshift.server.errors import BadInput, Forbidden, Unauthorized
from downshift.server.repository.repository import Repository

LARGEST = 64 * 1024  # bytes of a request; its parameters are a path


def control_router(repository: Repository, admins: Keys) -> APIRouter:
    """All routes below /v2/repository. `admins`: keys that may load and unload; none disables both."""
    router = APIRouter(prefix="/v2/repository", tags=["V2 model repository extension"])

    @router.post("/index", openapi_extra=_BODY)
    async def index(request: Request) -> Response:
        """All models with their state (READY, LOADING, UNAVAILABLE) and its reason."""
        wanted = await _fields(request)
        ready = wanted.get("ready", False)
        if not isinstance(ready, bool):
            raise BadInput("ready: give true for only those that are ready, or false")
        return JsonResponse(entries(repository, ready=ready))

    @router.post("/models/{name}/load", openapi_extra=_BODY)
    async def load(request: Request, name: str) -> Response:
        """Load the model's file again, or parameters.path in the model folder, and hot-swap to it."""
        authorise(admins, request.headers.raw)
        model = await load_model(repository, name, _parameters(await _fields(request)))
        return JsonResponse({"name": model.name, "version": model.version})

    @router.post("/models/{name}/unload", openapi_extra=_BODY)
    async def unload(request: Request, name: str) -> Response:
        """Unload the model; its requests in flight complete."""
        authorise(admins, request.headers.raw)
        await unload_model(repository, name, _parameters(await _fields(request)))
        return JsonResponse({})

    return router


def authorise(admins: Keys, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise `Forbidden` where nobody may load and unload, `Unauthorized` unless these headers hold a key."""
    if not admins:
        raise Forbidden(
            "loading and unloading by clients is off: start the server with an administrator's key "
            "(DOWNSHIFT_ADMIN_KEYS or DOWNSHIFT_ADMIN_KEYS_FILE)"
        )
    if not admins.accept(sent_keys(headers)):
        raise Unauthorized("an administrator's key is needed: send it as Authorization: Bearer KEY")


def entries(repository: Repository, *, ready: bool) -> list[dict[str, str]]:
    """What the index tells of every model, or only of those that are ready."""
    return [
        {"name": entry.name, "version": entry.version, "state": entry.state, "reason": entry.reason}
        for entry in repository.index
        if not ready or entry.state == "READY"
    ]


async def load_model(repository: Repository, name: str, parameters: Mapping[str, Any]) -> Model:
    """See `Repository.load`; raises `BadInput` for a parameter other than `path`."""
    _check(parameters, "path")
    path = parameters.get("path")
    if path is not None and not isinstance(path, str):
        raise BadInput("parameters.path: give a text, relative to the server's model folder")
    return await repository.load(name, path)


async def unload_model(repository: Repository, name: str, parameters: Mapping[str, Any]) -> None:
    """See `Repository.unload`; raises `BadInput` for a parameter other than Triton's `unload_dependents`."""
    _check(parameters, "unload_dependents")
    await repository.unload(name)


async def _fields(request: Request) -> dict[str, Any]:
    body = await read_body(request, LARGEST, required=False)
    try:
        fields = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the body is not JSON: {error.msg} at byte {error.pos}") from None
    if not isinstance(fields, dict):
        raise BadInput("the body is no JSON object: send {} or nothing")
    return fields


def _parameters(fields: dict[str, Any]) -> dict[str, Any]:
    parameters = fields.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise BadInput("parameters: send an object")
    return parameters


def _check(parameters: Mapping[str, Any], *known: str) -> None:
    if unknown := sorted(set(parameters) - set(known)):
        raise BadInput(f"parameters.{unknown[0][:40]}: not supported here; {' and '.join(known)} is")


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
