"""int8 over HTTP: a quantised sub-net is asked for, answered, counted and described by its own name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from downshift.models.artifact import read, write
from tests.runtime.quantized import quantized_artifact
from tests.server.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from downshift.models.spec import Manifest

IMAGE = {"name": "image", "datatype": "FP32", "shape": [1, 3, 5, 5], "data": [0.5] * 75}
NAMES = ["s0", "s0-int8", "s1", "s1-int8", "s2", "s2-int8"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    path = tmp_path_factory.mktemp("models") / "tiny.onnx"
    write(path, quantized_artifact())
    return read(path).manifest


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    path = tmp_path_factory.mktemp("served") / "tiny.onnx"
    write(path, quantized_artifact())
    with (
        ServerProcess(path, {"DOWNSHIFT_THREADS": "1", "DOWNSHIFT_TUNE": "false"}) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as client,
    ):
        yield client


def ask(client: httpx2.Client, **headers: str) -> httpx2.Response:
    return client.post("/v2/models/tiny/infer", json={"inputs": [IMAGE]}, headers=headers)


def test_a_pin_names_the_precision_and_the_answer_tells_its_accuracy(
    client: httpx2.Client, manifest: Manifest
) -> None:
    for name in NAMES:
        response = ask(client, **{"X-Subnet": name})
        assert response.status_code == 200, response.text
        assert response.headers["X-Subnet"] == name
        accuracy = manifest.point(name).accuracy
        if accuracy is not None:
            assert float(response.headers["X-Subnet-Accuracy"]) == pytest.approx(accuracy)
    page = client.get("/metrics").text
    assert 'downshift_subnet_selected_total{reason="pinned",subnet="s1-int8"} 1.0' in page
    assert 'downshift_requests_total{outcome="ok",subnet="s1-int8"} 1.0' in page


def test_a_precision_that_is_not_there_is_one_sentence_with_those_that_are(client: httpx2.Client) -> None:
    response = ask(client, **{"X-Subnet": "s1-int4"})
    assert response.status_code == 400
    assert "s1-int4" in response.text
    assert "s1-int8" in response.text


def test_the_page_and_the_configuration_list_every_point(client: httpx2.Client) -> None:
    shown = client.get("/subnets").json()["subnets"]
    assert {subnet["name"] for subnet in shown} == set(NAMES)
    parameters = client.get("/v2/models/tiny/config").json()["parameters"]
    assert parameters["subnets"]["string_value"].split(",") == NAMES
