from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from downshift.runtime.errors import Draining
from downshift.server.connection.error_middleware import ErrorMiddleware
from downshift.server.telemetry.request_log import RequestLog, RequestRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Receive, Scope, Send

SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "POST",
    "path": "/x",
    "headers": [(b"x-request-id", b"mine"), (b"content-length", b"12")],
    "client": None,
}


class Kept:
    def __init__(self) -> None:
        self.request_log: list[RequestRecord] = []

    def write(self, request_log: Sequence[RequestRecord], lost: int) -> None:
        self.request_log += request_log

    def close(self) -> None:
        pass


async def receive() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def pass_through(app: Any) -> tuple[list[Any], RequestRecord, Exception | None]:
    """What was sent, the one record, and what was raised."""
    sent: list[Any] = []
    kept = Kept()
    request_log = RequestLog([kept])

    async def send(message: Any) -> None:
        sent.append(message)

    raised = None
    try:
        await ErrorMiddleware(app, request_log)(dict(SCOPE), receive, send)
    except RuntimeError as error:
        raised = error
    request_log.close()
    [record] = kept.request_log
    return sent, record, raised


async def test_every_response_carries_its_requests_id_and_every_byte_is_counted() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 201})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body", "body": b"de"})

    sent, record, _ = await pass_through(app)
    assert sent[0]["headers"] == [(b"x-request-id", b"mine")]
    assert (record.status, record.received, record.sent, record.client) == (201, 12, 5, None)
    assert record.ended >= record.began


async def test_an_answer_that_breaks_off_is_logged_with_its_requests_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("broken")

    with caplog.at_level(logging.ERROR, "downshift.server"):
        _, record, raised = await pass_through(app)
    assert str(raised) == "broken"
    assert record.status == 200
    [record] = caplog.records
    assert record.__dict__["request_id"] == "mine"


async def test_a_client_that_hangs_up_before_the_answer_leaves_a_trail_without_status() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    _, record, _ = await pass_through(app)
    assert record.status == 0


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_only_http_requests_leave_trails(kind: str) -> None:
    passed: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    async def send(message: Any) -> None:
        pass

    kept = Kept()
    request_log = RequestLog([kept])
    await ErrorMiddleware(app, request_log)({"type": kind}, receive, send)
    request_log.close()
    assert passed == [kind]
    assert kept.request_log == []


async def test_an_error_says_how_long_it_took_from_the_first_byte() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise Draining

    sent, _, _ = await pass_through(app)
    timing = dict(sent[0]["headers"])[b"server-timing"].decode()
    assert 0.0 <= float(timing.removeprefix("total;dur=")) < 60e3
