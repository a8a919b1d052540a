from __future__ import annotations

import gzip
import re
import struct
import zlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest

from downshift.server.v2.infer import LARGE
from tests.models.images.pictures import encoded, noise, picture
from tests.server.doubles import ScriptedBackend, manifest, serving, tensor

if TYPE_CHECKING:
    from collections.abc import Callable

packed = partial(gzip.compress, mtime=0)  # the same bytes, and test names, whenever it is collected

INFER = "/v2/models/pets/infer"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models", {"models": [{"name": "pets"}]}),
        ("/v2/models/pets/ready", {"name": "pets", "ready": True}),
        ("/v2/models/pets/versions/1/ready", {"name": "pets", "ready": True}),
    ],
)
async def test_health_and_names(path: str, body: object) -> None:
    async with serving() as served:
        response = await served.client.get(path)
    assert (response.status_code, response.json()) == (200, body)


async def test_server_metadata() -> None:
    async with serving() as served:
        answer = (await served.client.get("/v2")).json()
    assert answer["name"] == "downshift"
    assert answer["extensions"] == [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "model_repository",
        "statistics",
    ]
    assert isinstance(answer["version"], str)


@pytest.mark.parametrize("path", ["/v2/models/pets", "/v2/models/pets/versions/1"])
async def test_model_metadata(path: str) -> None:
    async with serving() as served:
        answer = (await served.client.get(path)).json()
    [image] = answer["inputs"]
    assert (image["name"], image["datatype"], image["shape"]) == ("image", "FP32", [-1, 3, 2, 2])
    assert answer["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}]


@pytest.mark.parametrize("path", ["/v2/models/pets/config", "/v2/models/pets/versions/1/config"])
async def test_model_configuration(path: str) -> None:
    async with serving(max_batch=7) as served:
        answer = (await served.client.get(path)).json()
    assert (answer["name"], answer["max_batch_size"]) == ("pets", 7)
    assert answer["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [3, 2, 2]}]


@pytest.mark.parametrize(
    "path", ["/v2/models/pets/stats", "/v2/models/pets/versions/1/stats", "/v2/models/stats"]
)
async def test_statistics_count_what_is_read_and_written(path: str) -> None:
    async with serving() as served:
        await served.client.post(INFER, json=tensor())
        await served.client.post("/predict", content=encoded(picture(noise(2, 2))))
        await served.client.post(INFER, json={})
        await served.client.post("/predict", content=b"hello")
        [answer] = (await served.client.get(path)).json()["model_stats"]
    assert (answer["name"], answer["version"]) == ("pets", "1")
    assert answer["inference_stats"]["fail"]["count"] == 2
    assert answer["inference_stats"]["compute_input"]["ns"] > 0
    assert answer["inference_stats"]["compute_output"]["ns"] > 0


@pytest.mark.parametrize("path", ["/v2/models/dogs/stats", "/v2/models/pets/versions/2/config"])
async def test_what_is_not_served_has_no_statistics_and_no_configuration(path: str) -> None:
    async with serving() as served:
        response = await served.client.get(path)
    assert response.status_code == 404
    assert "no model" in response.json()["error"]


async def test_the_answer_is_this_json_but_for_its_timing() -> None:
    async with serving() as served:
        response = await served.client.post(INFER, json=tensor() | {"id": "7"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = re.sub(r'"total_ms":[0-9.]+', '"total_ms":0', response.text)
    assert body == (
        '{"model_name":"pets","model_version":"1","id":"7","parameters":{"subnet":"s50","subnet_sparsity":0.5,'
        '"subnet_accuracy":0.9,"queue_ms":1.5,"infer_ms":4.0,"total_ms":0},'
        '"outputs":[{"name":"logits","datatype":"FP32","shape":[1,3],"data":[0.0,2.0,1.0]}]}'
    )


async def test_what_is_submitted_is_what_was_sent() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    headers = {"X-Subnet": "s90", "X-Min-Accuracy": "0.7", "X-Latency-Budget-Ms": "5000"}
    async with serving() as served:
        request = tensor(shape=[2, 3, 2, 2], data=values.tolist())
        response = await served.client.post("/v2/models/pets/versions/1/infer", json=request, headers=headers)
    [submitted] = served.backend.requests
    np.testing.assert_array_equal(submitted.inputs, values)
    assert (submitted.subnet, submitted.min_accuracy) == ("s90", 0.7)
    assert response.json()["outputs"][0]["shape"] == [2, 3]


async def test_the_headers_say_who_answered_and_what_is_left() -> None:
    headers = {"X-Subnet": "s90", "X-Latency-Budget-Ms": "5000", "Prefer": "wait=9"}
    async with serving() as served:
        response = await served.client.post(INFER, json=tensor(), headers=headers)
    assert response.headers["x-subnet"] == "s90"
    assert response.headers["x-subnet-sparsity"] == "0.9"
    assert response.headers["x-subnet-accuracy"] == "0.8"
    assert response.headers["preference-applied"] == "wait=9"
    assert re.fullmatch(
        r"queue;dur=1\.5, infer;dur=4\.0, total;dur=[0-9.]+", response.headers["server-timing"]
    )
    remaining = float(response.headers["x-latency-budget-remaining-ms"])
    assert 0 < remaining < 5000
    parameters = response.json()["parameters"]
    assert parameters["latency_budget_remaining_ms"] == remaining
    assert f"total;dur={parameters['total_ms']}" in response.headers["server-timing"]


async def test_without_a_budget_or_an_accuracy_their_headers_are_absent() -> None:
    spec = manifest()
    from dataclasses import replace

    spec = replace(spec, subnets=tuple(replace(subnet, accuracy=None) for subnet in spec.subnets))
    async with serving(ScriptedBackend(spec)) as served:
        response = await served.client.post(INFER, json=tensor())
    for absent in ("x-subnet-accuracy", "x-latency-budget-remaining-ms", "preference-applied"):
        assert absent not in response.headers
    assert "subnet_accuracy" not in response.json()["parameters"]


async def test_the_timeout_parameter_is_a_budget() -> None:
    async with serving() as served:
        response = await served.client.post(INFER, json=tensor() | {"parameters": {"timeout": 5_000_000}})
    assert 0 < float(response.headers["x-latency-budget-remaining-ms"]) < 5000
    assert served.count("downshift_budget_source_total", source="timeout") == 1


async def test_binary_tensors_both_ways() -> None:
    head = (
        b'{"inputs":[{"name":"image","shape":[1,3,2,2],"datatype":"FP32","parameters":{"binary_data_size":48}}],'
        b'"outputs":[{"name":"logits","parameters":{"binary_data":true}}]}'
    )
    async with serving() as served:
        response = await served.client.post(
            INFER,
            content=head + struct.pack("<12f", *range(12)),
            headers={"Inference-Header-Content-Length": str(len(head))},
        )
    assert response.headers["content-type"] == "application/octet-stream"
    size = int(response.headers["inference-header-content-length"])
    assert response.content[:size].endswith(b'"shape":[1,3],"parameters":{"binary_data_size":12}}]}')
    assert struct.unpack("<3f", response.content[size:]) == (0.0, 2.0, 1.0)
    np.testing.assert_array_equal(served.backend.requests[0].inputs.ravel(), np.arange(12))


@pytest.mark.parametrize(
    ("compress", "encoding"), [(packed, "gzip"), (zlib.compress, "deflate")], ids=["gzip", "deflate"]
)
async def test_a_compressed_request_is_read(compress: Callable[[bytes], bytes], encoding: str) -> None:
    body = compress(orjson.dumps(tensor()))
    async with serving() as served:
        response = await served.client.post(INFER, content=body, headers={"Content-Encoding": encoding})
    assert response.status_code == 200
    np.testing.assert_array_equal(served.backend.requests[0].inputs.ravel(), np.arange(12))


@pytest.mark.parametrize("path", [INFER, "/predict"])
@pytest.mark.parametrize(
    ("body", "encoding", "status", "sentence"),
    [
        (packed(bytes(10**7)), "gzip", 413, "longer than the 1000000 bytes"),
        (packed(b""), "gzip", 400, "empty once it is inflated"),
        (b"{}", "gzip", 400, "not valid gzip"),
        (b"{}", "br", 415, "Content-Encoding 'br'"),
    ],
    ids=["bomb", "empty", "damaged", "unknown"],
)
async def test_a_compressed_request_that_is_no_good_is_refused(
    path: str, body: bytes, encoding: str, status: int, sentence: str
) -> None:
    async with serving(max_body_bytes=10**6) as served:
        response = await served.client.post(path, content=body, headers={"Content-Encoding": encoding})
    assert response.status_code == status
    assert sentence in response.json()["error"]


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip", "gzip"), ("deflate", "deflate"), ("br", None)])
async def test_a_large_answer_is_compressed_where_the_client_accepts_it(
    accepted: str, encoding: str | None
) -> None:
    request = tensor(shape=[200, 3, 2, 2], data=list(range(2400)))
    async with serving() as served:
        response = await served.client.post(INFER, json=request, headers={"Accept-Encoding": accepted})
        small = await served.client.post(INFER, json=tensor(), headers={"Accept-Encoding": accepted})
    assert response.headers.get("content-encoding") == encoding
    assert response.headers["vary"] == "Accept-Encoding"
    assert response.json()["outputs"][0]["shape"] == [200, 3]
    assert "content-encoding" not in small.headers


async def test_classes_are_answered_where_they_are_asked_for() -> None:
    request = tensor() | {"outputs": [{"name": "logits", "parameters": {"classification": 2}}]}
    async with serving() as served:
        response = await served.client.post(INFER, json=request)
    assert response.json()["outputs"] == [
        {"name": "logits", "datatype": "BYTES", "shape": [1, 2], "data": ["2:1:dog", "1:2:bird"]}
    ]


async def test_a_large_body_is_parsed_aside_with_the_same_result() -> None:
    request = tensor() | {"id": "x", "padding": " " * LARGE}
    async with serving() as served:
        response = await served.client.post(INFER, json=request)
        wrong = await served.client.post(INFER, json=request | {"inputs": []})
    assert response.json()["id"] == "x"
    assert wrong.status_code == 400


async def test_the_documentation_promises_no_422_and_lists_the_endpoints() -> None:
    async with serving() as served:
        document = (await served.client.get("/openapi.json")).json()
    assert {"/predict", "/v2", "/v2/models/{name}/infer", "/metrics", "/subnets"} <= set(document["paths"])
    for methods in document["paths"].values():
        for operation in methods.values():
            assert "422" not in operation["responses"]
