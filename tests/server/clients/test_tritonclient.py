"""NVIDIA's tritonclient, unmodified, synchronous and asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from downshift.models.pixels import normalise
from tests.models.tiny_artifact import tiny_artifact
from tests.server.clients.served import MODEL, seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VALUES = np.linspace(-1, 1, 2 * 75, dtype=np.float32).reshape(2, 3, 5, 5)


@pytest.fixture(scope="module")
def sync(address: str) -> Mapping[str, Any]:
    return seen("tritonclient_sync.py", "mlserver", address)


@pytest.fixture(scope="module")
def aio(address: str) -> Mapping[str, Any]:
    return seen("tritonclient_aio.py", "mlserver", address)


def near(values: list[float]) -> Any:
    return pytest.approx(values, rel=1e-4, abs=1e-5)


def test_it_finds_everything_alive_and_ready(sync: Mapping[str, Any], aio: Mapping[str, Any]) -> None:
    assert sync["health"] == aio["health"] == [True, True, True]
    assert sync["other_model"] is False


def test_it_reads_what_server_and_model_say_of_themselves(
    sync: Mapping[str, Any], aio: Mapping[str, Any]
) -> None:
    assert {"binary_tensor_data", "classification", "statistics"} <= set(sync["server"]["extensions"])
    assert sync["metadata"] == aio["metadata"]
    assert (sync["metadata"]["name"], sync["metadata"]["versions"]) == (MODEL, ["1"])
    assert sync["config"] == aio["config"]
    assert sync["config"]["max_batch_size"] == 256


def test_every_way_to_ask_gets_the_same_answer(
    sync: Mapping[str, Any], aio: Mapping[str, Any], expected: Callable[..., list[float]]
) -> None:
    logits = expected(VALUES)
    assert set(sync["answers"]) == {"binary", "json", "mixed", "gzip", "deflate", "version", "async"}
    for way, answer in sync["answers"].items():
        assert answer == near(logits), way
    assert len(aio["answers"]) == 24
    for answer in aio["answers"]:
        assert answer == near(logits)


def test_it_reads_a_large_compressed_answer(sync: Mapping[str, Any]) -> None:
    assert sync["compressed_shape"] == [200, 3]


def test_it_can_send_other_datatypes(sync: Mapping[str, Any], expected: Callable[..., list[float]]) -> None:
    assert sync["half"] == near(expected(VALUES.astype(np.float16).astype(np.float32)))
    assert sync["double"] == near(expected(VALUES))
    pixels = (np.arange(75) * 31 % 256).astype(np.uint8).reshape(1, 3, 5, 5)
    assert sync["pixels"] == near(expected(normalise(pixels, tiny_artifact().manifest.input)))


def test_it_gets_the_best_classes_in_json_and_in_binary(
    sync: Mapping[str, Any], expected: Callable[..., list[float]]
) -> None:
    labels = tiny_artifact().manifest.labels
    logits = np.reshape(expected(VALUES), (2, 3))
    for found in (sync["classes"]["True"], sync["classes"]["False"]):
        for row, texts in zip(logits, found, strict=True):
            parts = [text.split(":") for text in texts]
            best = np.argsort(-row)[:2]
            assert [int(index) for _, index, _ in parts] == best.tolist()
            assert [label for _, _, label in parts] == [labels[index] for index in best]
            assert [float(value) for value, _, _ in parts] == near(row[best].tolist())


def test_a_budget_and_an_id_come_back(sync: Mapping[str, Any]) -> None:
    answer = sync["budgeted"]
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("seven", MODEL, "1")
    assert 0 < answer["parameters"]["latency_budget_remaining_ms"] < 29_000


def test_its_statistics_grow(sync: Mapping[str, Any]) -> None:
    before, after = sync["statistics"]
    for part in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert after["inference_stats"][part]["count"] - before[part]["count"] == 11
    assert after["version"] == "1"
    assert [each["name"] for each in sync["all_statistics"]["model_stats"]] == [MODEL]


@pytest.mark.parametrize(
    ("what", "status", "sentence"),
    [
        ("shape", "400", "this model takes [N, 3, 5, 5]"),
        ("datatype", "400", "datatype 'INT32': send one of FP32"),
        ("model", "404", "no model 'other' is served here: choose one of tiny"),
        ("budget", "504", "grant more"),
        ("output", "400", "this model's output is 'logits'"),
        ("shared_memory", "404", "not found"),
    ],
)
def test_a_refusal_is_an_exception_with_status_and_sentence(
    sync: Mapping[str, Any], what: str, status: str, sentence: str
) -> None:
    found, message = sync["refusals"][what]
    assert found == status
    assert sentence in message


def test_the_asyncio_client_is_refused_alike(aio: Mapping[str, Any]) -> None:
    assert aio["refusal"][0] == "404"
    assert "no model 'other'" in aio["refusal"][1]
