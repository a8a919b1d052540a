"""Outermost middleware: stamps the arrival, turns every error into its response, logs the request."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from downshift.runtime.errors import Draining
from downshift.server.connection.arrival import ARRIVAL
from downshift.server.errors import retry_after, row_of
from downshift.server.telemetry.request_log import begin_record, finish

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from downshift.server.telemetry.request_log import RequestLog

log = logging.getLogger("downshift.server")


class JsonResponse(Response):
    """A JSON response; numpy arrays among its content are written as lists."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The content's JSON."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def error_response(error: Exception, request_id: str) -> Response:
    """The response for an error: its text if `ERRORS` gives it a status, else a 500 with the request's id."""
    text, status = sentence(error, request_id), row_of(error).status
    if status is None:
        return _error(HTTPStatus.INTERNAL_SERVER_ERROR, text, {})
    headers = {}
    if (after := retry_after(error)) is not None:
        headers["Retry-After"] = str(after)
    if isinstance(error, Draining):
        headers["Connection"] = "close"  # the next request belongs to another server
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer, Basic realm="downshift", charset="UTF-8"'
    return _error(status, text, headers)


def sentence(error: Exception, request_id: str) -> str:
    """What the client is told of an error: its own text if `ERRORS` gives it a status. Logs what it hides."""
    status = row_of(error).status
    if status is None:
        log.error("request %s failed", request_id, exc_info=error, extra={"request_id": request_id})
        return f"internal error; the server's log has it under request id {request_id}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and error.__cause__ is not None:
        log.error(
            "request %s failed: %s", request_id, error, exc_info=error, extra={"request_id": request_id}
        )
    return str(error)


async def http_error(request: Request, error: Exception) -> Response:
    """The response when no route takes the request: 404, or 405 with the methods that are allowed."""
    if not isinstance(error, HTTPException):
        raise error
    text = f"{request.method} {request.url.path[:80]}: {HTTPStatus(error.status_code).phrase.lower()}"
    headers = dict(error.headers or {})
    if "GET" in (allowed := headers.get("Allow", "").split(", ")) and "HEAD" not in allowed:
        headers["Allow"] = ", ".join([*allowed, "HEAD"])
    return _error(error.status_code, text, headers)


class ErrorMiddleware:
    """ASGI middleware: every request ends in a response that carries its id, whatever the application raises.

    Each request's record goes to `request_log`.
    """

    def __init__(self, app: ASGIApp, request_log: RequestLog) -> None:
        self._app = app
        self._log = request_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and answer for an error it raises before its response began."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = begin_record(scope, scope.setdefault(ARRIVAL, time.monotonic()))
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            if started:
                record.sent += len(message.get("body", b""))
            else:
                started = True
                record.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *record.identity.headers]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            request_id = record.identity.request_id
            if started:
                log.error("request %s broke off in its answer", request_id, extra={"request_id": request_id})
                raise
            response = error_response(error, request_id)
            taken = time.monotonic() - record.began
            response.headers["Server-Timing"] = f"total;dur={taken * 1e3:.3f}"
            await response(scope, receive, watched)
        finally:
            if self._log.wanted:
                finish(record, scope)
                self._log.add(record)


def _error(status: int, text: str, headers: Mapping[str, str]) -> Response:
    return JsonResponse({"error": text}, status_code=status, headers=dict(headers))
