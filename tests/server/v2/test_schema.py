"""What the OpenAPI document promises of /v2, against what is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.server.doubles import serving, tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
GETS = [
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models",
    "/v2/models/stats",
    "/v2/models/{name}",
    "/v2/models/{name}/config",
    "/v2/models/{name}/ready",
    "/v2/models/{name}/stats",
    "/v2/models/{name}/versions/{version}",
    "/v2/models/{name}/versions/{version}/config",
    "/v2/models/{name}/versions/{version}/ready",
    "/v2/models/{name}/versions/{version}/stats",
]


def check(value: Any, schema: Mapping[str, Any], where: str = "answer") -> None:
    """Fail unless the value is what the schema describes, to its last property, and nothing besides."""
    if "type" not in schema:
        return
    assert isinstance(value, TYPES[schema["type"]]), where
    assert value in schema.get("enum", [value]), where
    if schema["type"] == "array":
        for each in value:
            check(each, schema["items"], f"{where}[]")
    if schema["type"] == "object" and "properties" in schema:
        assert set(schema["required"]) <= set(value) <= set(schema["properties"]), where
        for name, each in value.items():
            check(each, schema["properties"][name], f"{where}.{name}")


async def documented(path: str, method: str) -> Mapping[str, Any]:
    async with serving() as served:
        document = (await served.client.get("/openapi.json")).json()
    operation: Mapping[str, Any] = document["paths"][path][method]
    return operation


@pytest.mark.parametrize("path", GETS)
async def test_what_is_answered_is_what_is_documented(path: str) -> None:
    operation = await documented(path, "get")
    async with serving() as served:
        await served.client.post("/v2/models/pets/infer", json=tensor())
        response = await served.client.get(path.format(name="pets", version="1"))
    check(response.json(), operation["responses"]["200"]["content"]["application/json"]["schema"])
    assert {"4XX", "5XX"} <= set(operation["responses"])


@pytest.mark.parametrize("path", ["/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"id": "7", "parameters": {"timeout": 10_000_000, "priority": 1}},
        {"outputs": [{"name": "logits", "parameters": {"classification": 2}}]},
    ],
    ids=["plain", "parameters", "classes"],
)
async def test_what_infer_takes_and_answers_is_what_is_documented(path: str, asked: dict[str, Any]) -> None:
    operation = await documented(path, "post")
    request = tensor() | asked
    check(request, operation["requestBody"]["content"]["application/json"]["schema"], "request")
    async with serving() as served:
        response = await served.client.post(path.format(name="pets", version="1"), json=request)
    promise = operation["responses"]["200"]
    check(response.json(), promise["content"]["application/json"]["schema"])
    given = {name.lower() for name in promise["headers"]}
    assert {name for name in response.headers if name.startswith("x-") or name == "server-timing"} <= given


async def test_infer_documents_its_binary_form_and_its_headers() -> None:
    operation = await documented("/v2/models/{name}/infer", "post")
    assert "application/octet-stream" in operation["requestBody"]["content"]
    assert "application/octet-stream" in operation["responses"]["200"]["content"]
    names = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"}
    assert {"X-Latency-Budget-Ms", "X-Subnet", "X-Min-Accuracy", "Inference-Header-Content-Length"} <= names
    assert {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"} == {
        "name"
    }
