"""Inference goes past the router, and nobody can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse

from downshift.server.v2.infer import FastPathMiddleware
from tests.server.doubles import serving, tensor

if TYPE_CHECKING:
    import pytest
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send


async def router(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("router")(scope, receive, send)


async def infer(request: Request, name: str, version: str | None) -> Response:
    return PlainTextResponse(f"{request.method} {name} {version}")


async def ask(method: str, path: str) -> str:
    sent: list[bytes] = []

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message.get("body", b""))

    scope = {"type": "http", "method": method, "path": path, "headers": []}
    await FastPathMiddleware(router, infer)(scope, receive=_nothing, send=send)
    return b"".join(sent).decode()


async def _nothing() -> dict[str, object]:
    raise AssertionError("nobody should ask")


async def test_infer_requests_are_answered_past_the_router() -> None:
    assert await ask("POST", "/v2/models/pets/infer") == "POST pets None"
    assert await ask("POST", "/v2/models/pets/versions/3/infer") == "POST pets 3"


async def test_everything_else_is_the_routers() -> None:
    for path in ("/v2/models/pets", "/v2/models/a/b/infer", "/v2/models//infer", "/x/v2/models/pets/infer"):
        assert await ask("POST", path) == "router"
    assert await ask("GET", "/v2/models/pets/infer") == "router"


async def test_lifespan_is_the_routers() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await FastPathMiddleware(app, infer)({"type": "lifespan"}, receive=_nothing, send=None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


async def test_the_router_still_describes_them_and_answers_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as served:
        described = (await served.client.get("/openapi.json")).json()["paths"]
        quick = await served.client.post("/v2/models/pets/infer", json=tensor())
        wrong = await served.client.get("/v2/models/pets/infer")
        monkeypatch.setattr("downshift.server.v2.infer.FastPathMiddleware.__call__", _pass_on)
        slow = await served.client.post("/v2/models/pets/infer", json=tensor())
    for path in ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"):
        assert "within the latency budget" in described[path]["post"]["description"]
    assert wrong.status_code == 405
    assert quick.json()["outputs"] == slow.json()["outputs"]
    assert quick.headers.keys() == slow.headers.keys()


async def _pass_on(self: FastPathMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
    await self._app(scope, receive, send)
