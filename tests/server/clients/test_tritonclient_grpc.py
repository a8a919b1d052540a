"""NVIDIA's tritonclient over gRPC, unmodified: synchronous, with callbacks, in a stream, asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from downshift.models.pixels import normalise
from downshift.server.grpc import inference_pb2 as pb
from tests.models.tiny_artifact import tiny_artifact
from tests.server.clients.served import ADMIN_KEY, MODEL, seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VALUES = np.linspace(-1, 1, 2 * 75, dtype=np.float32).reshape(2, 3, 5, 5)


@pytest.fixture(scope="module")
def triton(grpc_address: str) -> Mapping[str, Any]:
    return seen("tritonclient_grpc.py", "mlserver", grpc_address, ADMIN_KEY)


def near(values: list[float]) -> Any:
    return pytest.approx(values, rel=1e-4, abs=1e-5)


def test_it_finds_everything_alive_and_ready(triton: Mapping[str, Any]) -> None:
    assert triton["health"] == triton["aio"]["health"] == [True, True, True]
    assert triton["other_model"] is False


def test_it_reads_what_server_and_model_say_of_themselves(triton: Mapping[str, Any]) -> None:
    assert {"binary_tensor_data", "classification", "statistics"} <= set(triton["server"]["extensions"])
    assert triton["metadata"]["name"] == MODEL
    assert [tensor["shape"] for tensor in triton["metadata"]["inputs"]] == [["-1", "3", "5", "5"]]
    config = triton["config"]["config"]
    assert (config["name"], config["max_batch_size"]) == (MODEL, 256)
    assert config["input"][0]["data_type"] == "TYPE_FP32"


def test_every_way_to_ask_gets_the_same_answer(
    triton: Mapping[str, Any], expected: Callable[..., list[float]]
) -> None:
    logits = expected(VALUES)
    assert set(triton["answers"]) == {"plain", "version", "gzip", "deadline"}
    for way, answer in triton["answers"].items():
        assert answer == near(logits), way
    assert triton["callbacks"] == [near(logits)] * 4
    assert triton["aio"]["answers"] == [near(logits)] * 24


def test_a_stream_answers_in_order_and_goes_on_after_an_error(
    triton: Mapping[str, Any], expected: Callable[..., list[float]]
) -> None:
    logits = expected(VALUES)
    assert triton["aio"]["streamed"] == [[str(number), near(logits)] for number in range(6)]
    for number, answer in enumerate(triton["stream"]):
        if number == 3:
            assert "no model 'other'" in answer["error"]
        else:
            assert answer == {"id": str(number), "logits": near(logits)}


def test_it_can_send_other_datatypes(triton: Mapping[str, Any], expected: Callable[..., list[float]]) -> None:
    assert triton["half"] == near(expected(VALUES.astype(np.float16).astype(np.float32)))
    assert triton["double"] == near(expected(VALUES))
    pixels = (np.arange(75) * 31 % 256).astype(np.uint8).reshape(1, 3, 5, 5)
    assert triton["pixels"] == near(expected(normalise(pixels, tiny_artifact().manifest.input)))


def test_it_gets_the_best_classes(triton: Mapping[str, Any], expected: Callable[..., list[float]]) -> None:
    for row, texts in zip(np.reshape(expected(VALUES), (2, 3)), triton["classes"], strict=True):
        best = np.argsort(-row)[:2]
        assert [int(text.split(":")[1]) for text in texts] == best.tolist()


def test_a_budget_and_an_id_come_back(triton: Mapping[str, Any]) -> None:
    answer = triton["budgeted"]
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("seven", MODEL, "1")
    assert 0 < answer["parameters"]["latency_budget_remaining_ms"]["double_param"] < 29_000


def test_its_statistics_grow(triton: Mapping[str, Any]) -> None:
    before, after = triton["statistics"]
    assert int(after["success"]["count"]) - int(before["success"].get("count", 0)) == 5


def test_it_loads_a_model_with_the_key_alone(triton: Mapping[str, Any]) -> None:
    [model] = triton["index"]["models"]
    assert (model["name"], model["state"]) == (MODEL, "READY")
    assert triton["refused_load"][0] == "StatusCode.UNAUTHENTICATED"
    assert triton["reloaded"] == ["2"]


@pytest.mark.parametrize(
    ("what", "code", "sentence"),
    [
        ("shape", "INVALID_ARGUMENT", "this model takes [N, 3, 5, 5]"),
        ("datatype", "INVALID_ARGUMENT", "datatype 'INT32': send one of FP32"),
        ("model", "NOT_FOUND", "no model 'other' is served here: choose one of tiny"),
        ("budget", "DEADLINE_EXCEEDED", "grant more"),
        ("shared_memory", "UNIMPLEMENTED", ""),
    ],
)
def test_a_refusal_is_an_exception_with_code_and_sentence(
    triton: Mapping[str, Any], what: str, code: str, sentence: str
) -> None:
    found, message = triton["refusals"][what]
    assert found == f"StatusCode.{code}"
    assert sentence in message


def test_our_definition_of_the_protocol_has_its_names_numbers_and_types(triton: Mapping[str, Any]) -> None:
    for name, message in pb.DESCRIPTOR.message_types_by_name.items():
        theirs = triton["fields"][name]
        for field in message.fields:
            kind = field.message_type.full_name if field.message_type else ""
            assert theirs[field.name] == [field.number, field.type, kind], (name, field.name)
