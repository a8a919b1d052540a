from __future__ import annotations

import asyncio
import base64
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from downshift.server.images import predict
from downshift.server.images.decoders import THREADS
from downshift.server.images.predict import read_top_k, top_labels
from tests.models.images.pictures import encoded, noise, picture
from tests.server.doubles import ScriptedBackend, serving, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PIXELS = noise(2, 2)
PNG = encoded(picture(PIXELS))
INPUTS = (PIXELS / 255).transpose(2, 0, 1)


async def test_the_answer_is_this_json_but_for_its_timing() -> None:
    async with serving(ScriptedBackend(logits=(-1000.0, 0.0, 0.0))) as served:
        response = await served.client.post("/predict", content=PNG)
    assert response.status_code == 200
    assert re.sub(r'"total_ms":[0-9.]+', '"total_ms":0', response.text) == (
        '{"model":"pets","predictions":[{"label":"dog","probability":0.5},{"label":"bird","probability":0.5},'
        '{"label":"cat","probability":0.0}],"subnet":"s50","sparsity":0.5,"accuracy":0.9,"engine":"scripted",'
        '"timing":{"queue_ms":1.5,"infer_ms":4.0,"total_ms":0},"latency_budget_remaining_ms":null}'
    )
    assert response.headers["x-subnet"] == "s50"
    np.testing.assert_allclose(served.backend.requests[0].inputs[0], INPUTS, atol=1e-6)


@pytest.mark.parametrize("name", ["image", "file", "picture"])
async def test_a_picture_can_come_in_a_form(name: str) -> None:
    async with serving() as served:
        response = await served.client.post("/predict", files={name: ("x.txt", PNG, "text/plain")})
    assert response.status_code == 200
    np.testing.assert_allclose(served.backend.requests[0].inputs[0], INPUTS, atol=1e-6)


@pytest.mark.parametrize("content_type", ["image/jpeg", "application/x-www-form-urlencoded", ""])
async def test_the_content_type_does_not_matter(content_type: str) -> None:
    async with serving() as served:
        response = await served.client.post("/predict", content=PNG, headers={"Content-Type": content_type})
    assert response.status_code == 200


async def test_budget_pin_model_and_number_of_labels_are_honoured() -> None:
    async with serving() as served:
        headers = {"X-Subnet": "s90", "X-Latency-Budget-Ms": "4000"}
        response = await served.client.post("/predict?top_k=1&model=pets", content=PNG, headers=headers)
    answer = response.json()
    assert [each["label"] for each in answer["predictions"]] == ["dog"]
    assert (answer["subnet"], answer["sparsity"], answer["accuracy"]) == ("s90", 0.9, 0.8)
    assert 0 < answer["latency_budget_remaining_ms"] < 4000


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
async def test_a_picture_can_come_as_base64_in_json(prefix: str) -> None:
    async with serving() as served:
        body = {"image": prefix + base64.b64encode(PNG).decode()}
        response = await served.client.post("/predict", json=body)
    assert response.status_code == 200
    np.testing.assert_allclose(served.backend.requests[0].inputs[0], INPUTS, atol=1e-6)


@contextmanager
def busy_decoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Decoding goes on until the block ends; the bodies whose decoding began."""
    began: list[bytes] = []
    ended = threading.Event()

    def slow(body: bytes, *_: object) -> object:
        began.append(body)
        assert ended.wait(60)
        return np.zeros((1, 3, 2, 2), np.float32)

    monkeypatch.setattr(predict, "to_input", slow)
    try:
        yield began
    finally:
        ended.set()


async def test_pictures_beyond_the_queue_are_refused_before_their_body_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("somebody read it")
        yield b""

    async with serving(decode_queue=1) as served:
        with busy_decoders(monkeypatch) as began:
            held = [asyncio.ensure_future(served.client.post("/predict", content=PNG)) for _ in range(3)]
            await until(lambda: len(began) == THREADS)
            response = await served.client.post("/predict", content=body())
            live = await served.client.get("/v2/health/live")
        answered = await asyncio.gather(*held)
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    assert response.json() == {"error": "1 images wait to be decoded, as many as may: retry in a second"}
    assert live.status_code == 200
    assert [each.status_code for each in answered] == [200] * 3
    assert served.count("downshift_requests_total", subnet="none", outcome="shed") == 1


async def test_a_picture_whose_budget_ran_out_before_its_turn_is_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as served:
        with busy_decoders(monkeypatch) as began:
            held = [
                asyncio.ensure_future(served.client.post("/predict", content=PNG)) for _ in range(THREADS)
            ]
            await until(lambda: len(began) == THREADS)
            hasty = asyncio.ensure_future(
                served.client.post("/predict", content=b"hasty", headers={"X-Latency-Budget-Ms": "1"})
            )
            await asyncio.sleep(0.01)
        response = await hasty
        await asyncio.gather(*held)
    assert response.status_code == 504
    assert "deadline expired" in response.json()["error"]
    assert b"hasty" not in began
    assert served.count("downshift_requests_total", subnet="none", outcome="expired") == 1


async def test_the_server_answers_while_it_decodes_fifty_million_pixels() -> None:
    large = encoded(picture(noise(70, 50)).resize((7000, 7000)), "PNG", compress_level=1)
    async with serving(max_body_bytes=2**28) as served:
        asked = asyncio.ensure_future(served.client.post("/predict", content=large))
        alive = 0
        while not asked.done():
            alive += (await served.client.get("/v2/health/live")).status_code == 200
            await asyncio.sleep(0)
        assert (await asked).status_code == 200
    assert alive > 20  # one or two, were it decoded on the loop


async def test_the_openapi_document_describes_bodies_headers_and_answer() -> None:
    async with serving() as served:
        operation = (await served.client.get("/openapi.json")).json()["paths"]["/predict"]["post"]
        answer = (await served.client.post("/predict", content=PNG)).json()
    bodies = operation["requestBody"]["content"]
    assert {"image/gif", "image/tiff", "multipart/form-data", "application/json"} <= bodies.keys()
    assert "X-Latency-Budget-Ms" in {each["name"] for each in operation["parameters"]}
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema["properties"].keys() == answer.keys()
    assert "4XX" in operation["responses"]


async def test_huge_logits_give_probabilities() -> None:
    async with serving(ScriptedBackend(logits=(1e30, -1e30, 0.0))) as served:
        answer = (await served.client.post("/predict", content=PNG)).json()
    assert [each["probability"] for each in answer["predictions"]] == [1.0, 0.0, 0.0]


def test_labels_come_with_their_probabilities() -> None:
    found = top_labels(np.array([1.0, 3.0, 3.0], np.float32), ("a", "b", "c"), 2)
    assert [each["label"] for each in found] == ["b", "c"]
    assert found[0]["probability"] == found[1]["probability"]


def test_five_labels_unless_asked_otherwise() -> None:
    assert read_top_k(None, 10) == 5
    assert read_top_k(None, 3) == 3
    assert read_top_k("10", 10) == 10
