"""Every way to be refused: its status, and the sentence that names the value and the remedy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from downshift.models.errors import UnknownName
from downshift.runtime.errors import (
    AccuracyUnavailable,
    DeadlineExpired,
    DeadlineImpossible,
    Draining,
    EngineFailed,
    InputOverflow,
    InvalidRequest,
    NonFiniteOutput,
    Overloaded,
    QueueFull,
    RuntimeFault,
)
from tests.models.images.pictures import encoded, noise, picture, png_header
from tests.server.doubles import ScriptedBackend, serving, tensor

INFER = "/v2/models/pets/infer"
JSON = orjson.dumps(tensor())
PNG = encoded(picture(noise(2, 2)))


@dataclass
class Case:
    status: int
    sentence: str
    path: str = "/predict"
    content: bytes = PNG
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    outcome: str | None = "invalid"


AS_JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=XX"}
CASES = [
    Case(404, "GET /nowhere: not found", "/nowhere", method="GET", outcome=None),
    Case(
        404,
        "no model 'cars' is served here: choose one of pets",
        "/v2/models/cars",
        method="GET",
        outcome=None,
    ),
    Case(
        404,
        "no model 'pets:2' is served here: choose one of pets:1",
        "/v2/models/pets/versions/2/infer",
        JSON,
    ),
    Case(404, "no model 'cars' is served here: choose one of pets", "/predict?model=cars"),
    Case(405, "PUT /predict: method not allowed", method="PUT", outcome=None),
    Case(405, "GET /v2/models/pets/infer: method not allowed", INFER, method="GET", outcome=None),
    Case(400, "the body is empty", content=b""),
    Case(400, "the body is empty", INFER, b""),
    Case(413, "the body is longer than the 1000 bytes", content=b"x" * 1001),
    Case(413, "the body is longer than the 1000 bytes", INFER, b"x" * 1001),
    Case(415, "not a JPEG, PNG, WebP, GIF, BMP or TIFF image: send one of those", content=b"hello"),
    Case(415, "Content-Encoding 'br' is not read here", headers={"Content-Encoding": "br"}),
    Case(413, "50 x 50 pixels, more than the 2000 accepted: scale it down", content=png_header(50, 50)),
    Case(400, "the PNG image is truncated or corrupt: send it whole", content=png_header(20, 20)),
    Case(400, "the body is not valid JSON", content=b"{", headers=AS_JSON),
    Case(400, "the JSON body must be an object with the image in base64", content=b"[1]", headers=AS_JSON),
    Case(400, "an object with the image in base64", content=b'{"image": 3}', headers=AS_JSON),
    Case(400, "image is not base64: encode", content=b'{"image": "?"}', headers=AS_JSON),
    Case(415, "not a JPEG, PNG", content=b'{"image": "aGVsbG8="}', headers=AS_JSON),
    Case(400, "top_k '0': give a whole number from 1 to 3", "/predict?top_k=0"),
    Case(400, "top_k '4': give a whole number from 1 to 3", "/predict?top_k=4"),
    Case(400, "top_k 'all': give a whole number from 1 to 3", "/predict?top_k=all"),
    Case(400, "the multipart body is malformed", content=b"?", headers=FORM),
    Case(400, "the body is not valid JSON", INFER, b"{"),
    Case(400, "datatype 'INT64': send one of FP32", INFER, orjson.dumps(tensor(datatype="INT64"))),
    Case(400, "N in 1 to 8", INFER, orjson.dumps(tensor(shape=[9, 3, 2, 2]))),
    Case(400, "parameters.timeout -1", INFER, orjson.dumps(tensor() | {"parameters": {"timeout": -1}})),
    Case(400, "Content-Length '5000", INFER, JSON, {"Inference-Header-Content-Length": "5000"}),
    Case(400, "X-Latency-Budget-Ms '-5': give milliseconds above 0", headers={"X-Latency-Budget-Ms": "-5"}),
    Case(400, "X-Latency-Budget-Ms 'nan': give milliseconds", INFER, JSON, {"X-Latency-Budget-Ms": "nan"}),
    Case(400, "X-Min-Accuracy '90': give a ratio between 0 and 1", headers={"X-Min-Accuracy": "90"}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.status}-{case.sentence[:30]}")
async def test_a_bad_request_gets_its_status_and_a_sentence(case: Case) -> None:
    async with serving(max_body_bytes=1000, max_pixels=2000, max_batch=8) as served:
        response = await served.client.request(
            case.method, case.path, content=case.content, headers=case.headers
        )
    assert response.status_code == case.status
    assert list(response.json()) == ["error"]
    assert case.sentence in response.json()["error"]
    assert not served.backend.requests
    invalid = served.count("downshift_requests_total", subnet="none", outcome="invalid")
    assert invalid == (1 if case.outcome else 0)


async def test_a_method_that_is_not_allowed_names_those_that_are() -> None:
    async with serving() as served:
        response = await served.client.delete("/predict")
    assert response.headers["allow"] == "POST"


async def test_a_body_that_says_no_length_is_cut_off_at_the_limit() -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 600

    async with serving(max_body_bytes=1000) as served:
        response = await served.client.post("/predict", content=endless())
    assert response.status_code == 413
    assert sent == 2


REFUSALS: list[tuple[Exception, int, str | None]] = [
    (InvalidRequest("inputs of shape [1]: send [n, 3]"), 400, None),
    (UnknownName("sub-net", "s91", ["s50", "s90"]), 400, None),
    (AccuracyUnavailable(0.95, 0.9), 400, None),
    (DeadlineImpossible(0.001, 0.002), 504, None),
    (DeadlineExpired(0.5), 504, None),
    (QueueFull(1024, 2.2), 429, "3"),
    (Overloaded(0.01, 0.02), 429, "1"),
    (Draining(), 503, "1"),
    (NonFiniteOutput(0, "s50"), 500, None),
    (InputOverflow(0, "s50"), 400, None),
    (EngineFailed("scripted", "s50"), 500, None),
]


@pytest.mark.parametrize(("error", "status", "after"), REFUSALS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("path", ["/predict", INFER])
async def test_a_refusal_of_the_runtime_gets_its_status(
    path: str, error: Exception, status: int, after: str | None
) -> None:
    async with serving(ScriptedBackend(error=error)) as served:
        response = await served.client.post(path, content=PNG if path == "/predict" else JSON)
    assert (response.status_code, response.json()) == (status, {"error": str(error)})
    assert response.headers.get("retry-after") == after


async def test_a_pin_that_does_not_exist_names_those_that_do() -> None:
    async with serving() as served:
        response = await served.client.post(INFER, content=JSON, headers={"X-Subnet": "s91"})
    assert response.status_code == 400
    assert response.json()["error"] == "unknown sub-net 's91': did you mean 's90'? choose one of s50, s90"


@pytest.mark.parametrize("error", [KeyError("secret"), RuntimeFault("secret"), ValueError("secret")])
async def test_the_text_of_any_other_error_stays_in_the_log(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(ScriptedBackend(error=error)) as served:
        response = await served.client.post("/predict", content=PNG)
    assert response.status_code == 500
    assert "secret" not in response.text
    request_id = response.headers["x-request-id"]
    assert request_id in response.json()["error"]
    assert request_id in caplog.text
    assert "secret" in caplog.text
