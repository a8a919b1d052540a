from __future__ import annotations

import base64

import pytest

from tests.server.doubles import MODEL, ScriptedBackend, serving, tensor
from tests.server.listening import listening, status

KEY, ADMIN = "a-clients-key", "an-admins-key"
INFER = f"/v2/models/{MODEL}/infer"


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"X-API-Key": KEY},
        {"Authorization": basic(KEY)},
        {"X-API-Key": ADMIN},
        {"X-API-Key": "wrong", "Authorization": f"bearer {KEY}"},
    ],
)
async def test_who_holds_a_key_is_let_in(headers: dict[str, str]) -> None:
    async with serving(api_keys=KEY, admin_keys=ADMIN) as served:
        for path in ("/", "/v2", "/subnets"):
            assert (await served.client.get(path, headers=headers)).status_code == 200
        assert (await served.client.post(INFER, json=tensor(), headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "wrong-key"},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Basic !!!"},
        {"Authorization": basic("")},
        {"Cookie": f"key={KEY}"},
    ],
)
async def test_who_does_not_is_refused_before_anything_is_read(headers: dict[str, str]) -> None:
    backend = ScriptedBackend()
    async with serving(backend, api_keys=KEY) as served:
        for path in ("/", "/v2", "/subnets", "/openapi.json", "/nowhere"):
            response = await served.client.get(path, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert "Authorization: Bearer KEY" in response.json()["error"]
        assert (await served.client.post(INFER, content=b"{", headers=headers)).status_code == 401
    assert not backend.requests


async def test_whoever_asks_how_the_server_is_needs_no_key() -> None:
    async with serving(api_keys=KEY) as served:
        for path in ("/v2/health/live", "/v2/health/ready", "/metrics"):
            assert (await served.client.get(path)).status_code == 200
        assert (await served.client.get(f"/v2/models/{MODEL}/ready")).status_code == 401
    async with serving(api_keys=KEY, keyed_metrics=True) as served:
        assert (await served.client.get("/metrics")).status_code == 401
        assert (await served.client.get("/v2/health/live")).status_code == 200


async def test_without_keys_the_door_is_open() -> None:
    async with serving() as served:
        assert (await served.client.get("/v2")).status_code == 200


@pytest.mark.parametrize("coding", ["utf-8", "iso-8859-1"])
def test_a_key_beyond_ascii_opens_the_door_over_a_real_connection(coding: str) -> None:
    key = "schlüssel-eins"
    raw = key.encode(coding)
    with listening(api_keys=key) as served:
        for header in (
            b"Authorization: Bearer " + raw,
            b"X-API-Key: " + raw,
            b"Authorization: Basic " + base64.b64encode(b"anybody:" + raw),
        ):
            answer = served.ask(
                b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header + b"\r\n\r\n"
            )
            assert status(answer) == 200, header
        refused = served.ask(b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: schl\r\n\r\n")
    assert status(refused) == 401
    assert b'charset="UTF-8"' in refused
