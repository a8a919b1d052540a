"""HEAD answers what GET answers, without its body, on every resource that has a GET."""

from __future__ import annotations

import pytest

from tests.server.doubles import MODEL, serving
from tests.server.listening import get, listening, status, wait_for

PATHS = [
    *("/", "/v2", "/v2/health/live", "/v2/health/ready", "/metrics", "/v2/models", "/v2/models/stats"),
    *(f"/v2/models/{MODEL}{rest}" for rest in ("", "/ready", "/config", "/stats", "/versions/1")),
    *("/subnets", "/openapi.json", "/static/page.js", "/nowhere", "/v2/models/absent"),
]


@pytest.mark.parametrize("path", PATHS)
async def test_head_has_the_status_and_headers_of_get_and_no_body(path: str) -> None:
    async with serving() as served:
        head, got = await served.client.head(path), await served.client.get(path)
    assert head.status_code == got.status_code
    assert head.headers.get("content-type") == got.headers.get("content-type")
    assert head.content == b""
    assert got.content


def test_over_a_connection_a_head_is_followed_by_the_next_answer() -> None:
    heads = b"".join(get(path).replace(b"GET", b"HEAD", 1) for path in [*PATHS[:8], "/events"])
    with listening() as served:
        answer = served.ask(heads + get(headers="Connection: close\r\n"))
        assert answer.count(b"HTTP/1.1 200") == 10
        assert answer.count(b'{"live":true}') == 1
        wait_for(lambda: not served.server.server_state.tasks)  # the stream of events has ended, too


async def test_what_has_no_get_refuses_head_and_says_what_is_allowed() -> None:
    async with serving() as served:
        response = await served.client.head("/predict")
        assert (response.status_code, response.headers["allow"]) == (405, "POST")
        response = await served.client.post("/v2/health/live")
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


def test_head_needs_a_key_as_get_does() -> None:
    with listening(api_keys="the-clients-key") as served:
        assert status(served.ask(b"HEAD /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 401
