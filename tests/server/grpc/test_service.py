"""The V2 protocol over gRPC, called as a client calls it."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from downshift.runtime.errors import DeadlineExpired, Draining, QueueFull
from downshift.server.grpc import inference_pb2 as pb
from tests.server.doubles import MODEL, ScriptedBackend
from tests.server.grpc.serving import serving, tensor
from tests.server.listening import wait_for

LOGITS = [0.0, 2.0, 1.0]


@pytest.fixture(scope="module")
def server():
    with serving() as found:
        yield found


@pytest.fixture
def client(server):
    with server.client() as found:
        yield found


def test_it_is_alive_and_ready(client) -> None:
    assert pb.ServerLiveResponse.FromString(client.ask("ServerLive", b"")[0]).live
    assert pb.ServerReadyResponse.FromString(client.ask("ServerReady", b"")[0]).ready
    for name, ready in ((MODEL, True), ("other", False)):
        reply, _ = client.ask("ModelReady", pb.ModelReadyRequest(name=name))
        assert pb.ModelReadyResponse.FromString(reply).ready is ready


def test_it_says_what_http_says_of_server_and_model(client) -> None:
    told = pb.ServerMetadataResponse.FromString(client.ask("ServerMetadata", b"")[0])
    assert (told.name, told.version) == ("downshift", "1.2.3")
    assert "binary_tensor_data" in told.extensions
    metadata = pb.ModelMetadataResponse.FromString(
        client.ask("ModelMetadata", pb.ModelMetadataRequest(name=MODEL))[0]
    )
    assert (metadata.name, list(metadata.versions)) == (MODEL, ["1"])
    assert [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs] == [
        ("image", "FP32", [-1, 3, 2, 2])
    ]
    assert [(each.name, list(each.shape)) for each in metadata.outputs] == [("logits", [-1, 3])]
    config = pb.ModelConfigResponse.FromString(
        client.ask("ModelConfig", pb.ModelConfigRequest(name=MODEL))[0]
    ).config
    assert (config.max_batch_size, list(config.input[0].dims)) == (256, [3, 2, 2])
    assert config.input[0].data_type == pb.TYPE_FP32
    assert config.parameters["subnets"].string_value == "s50,s90"


@pytest.mark.parametrize("raw", [True, False])
def test_the_answer_comes_as_the_request_did(server, client, raw: bool) -> None:
    answer, beside = client.infer(tensor(raw, id="seven"))
    assert (answer.model_name, answer.model_version, answer.id) == (MODEL, "1", "seven")
    [output] = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("logits", "FP32", [1, 3])
    if raw:
        assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == LOGITS
    else:
        assert list(output.contents.fp32_contents) == LOGITS
        assert not answer.raw_output_contents
    assert answer.parameters["subnet"].string_param == beside["x-subnet"] == "s50"
    assert answer.parameters["subnet_sparsity"].double_param == 0.5
    np.testing.assert_array_equal(server.backend.requests[-1].inputs.ravel(), np.arange(12, dtype=np.float32))


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [("FP64", "fp64_contents", np.arange(12.0)), ("UINT8", "uint_contents", np.arange(12))],
)
def test_typed_contents_of_other_datatypes_are_read(
    server, client, datatype: str, field: str, values
) -> None:
    asked = tensor(raw=False)
    asked.inputs[0].ClearField("contents")
    asked.inputs[0].datatype = datatype
    getattr(asked.inputs[0].contents, field).extend(values.tolist())
    client.infer(asked)
    expected = values / 255 if datatype == "UINT8" else values
    np.testing.assert_allclose(server.backend.requests[-1].inputs.ravel(), expected, rtol=1e-6)


@pytest.mark.parametrize("raw", [True, False])
def test_the_best_classes_are_told(client, raw: bool) -> None:
    asked = tensor(raw)
    asked.outputs.add(name="logits").parameters["classification"].int64_param = 2
    answer, _ = client.infer(asked)
    [output] = answer.outputs
    assert (output.datatype, list(output.shape)) == ("BYTES", [1, 2])
    texts = [b"2:1:dog", b"1:2:bird"]
    if raw:
        assert answer.raw_output_contents[0] == b"".join(
            len(text).to_bytes(4, "little") + text for text in texts
        )
    else:
        assert list(output.contents.bytes_contents) == texts


def test_metadata_are_the_headers_of_http(server, client) -> None:
    answer, beside = client.infer(
        x_subnet="s90", x_latency_budget_ms="9000", x_request_id="mine", x_priority="1", x_min_accuracy="0.5"
    )
    request = server.backend.requests[-1]
    assert (request.subnet, request.priority, request.min_accuracy) == ("s90", 3, 0.5)
    assert beside["x-subnet"] == "s90"
    assert beside["x-request-id"] == "mine"
    assert {"server-timing", "x-subnet-accuracy", "x-latency-budget-remaining-ms"} <= set(beside)
    assert 0 < answer.parameters["latency_budget_remaining_ms"].double_param < 9000


def test_the_deadline_of_the_call_is_a_budget(server, client) -> None:
    before = server.count("downshift_budget_source_total", source="grpc-timeout")
    answer, _ = client.infer(timeout=20.0)
    assert server.count("downshift_budget_source_total", source="grpc-timeout") == before + 1
    # The library rounds a timeout up, to three digits.
    assert 0 < answer.parameters["latency_budget_remaining_ms"].double_param <= 20_200


def test_the_smallest_budget_counts(client) -> None:
    asked = tensor()
    asked.parameters["timeout"].int64_param = 5_000_000
    answer, _ = client.infer(asked, timeout=20.0)
    assert 0 < answer.parameters["latency_budget_remaining_ms"].double_param < 5000


def test_without_any_deadline_there_is_no_budget(server, client) -> None:
    _, beside = client.infer(timeout=None)
    assert server.backend.requests[-1].deadline is None
    assert "x-latency-budget-remaining-ms" not in beside


def changed(**changes):
    asked = tensor()
    for name, value in changes.items():
        setattr(asked.inputs[0], name, value)
    return asked


def two_raw():
    asked = tensor()
    asked.raw_input_contents.append(b"")
    return asked


def both():
    asked = tensor()
    asked.inputs[0].contents.fp32_contents.append(1.0)
    return asked


def half():
    asked = tensor(raw=False)
    asked.inputs[0].datatype = "FP16"
    return asked


def flag():
    asked = tensor()
    asked.parameters["timeout"].bool_param = True
    return asked


@pytest.mark.parametrize(
    ("message", "code", "sentence"),
    [
        (b"\xff\xff", "INVALID_ARGUMENT", "these 2 bytes are no ModelInferRequest message"),
        (
            pb.ModelInferRequest(model_name=MODEL),
            "INVALID_ARGUMENT",
            "inputs must hold exactly one tensor, 'image'",
        ),
        (changed(name="x"), "INVALID_ARGUMENT", "this model's input is 'image'"),
        (changed(datatype="INT32"), "INVALID_ARGUMENT", "datatype 'INT32': send one of FP32"),
        (tensor(raw_input_contents=[b"1234"]), "INVALID_ARGUMENT", "takes 48 bytes, and 4 were sent"),
        (two_raw(), "INVALID_ARGUMENT", "raw_input_contents holds 2 tensors for 1 inputs"),
        (both(), "INVALID_ARGUMENT", "both contents and raw_input_contents"),
        (half(), "INVALID_ARGUMENT", "datatype FP16 has no typed contents"),
        (flag(), "INVALID_ARGUMENT", "parameters.timeout True"),
        (tensor(model_name="other"), "NOT_FOUND", "choose one of pets"),
        (tensor(model_version="9"), "NOT_FOUND", "choose one of pets:1"),
    ],
)
def test_a_request_that_cannot_be_understood_is_one_sentence(
    client, message, code: str, sentence: str
) -> None:
    found, text, beside = client.refusal("ModelInfer", message)
    assert found == code
    assert sentence in text
    assert beside["x-request-id"]


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (DeadlineExpired(0.1), "DEADLINE_EXCEEDED", 504),
        (QueueFull(3, 1.5), "RESOURCE_EXHAUSTED", 429),
        (Draining(), "UNAVAILABLE", 503),
        (KeyError("secret"), "INTERNAL", 500),
    ],
)
def test_errors_of_the_model_come_as_their_codes(error: Exception, code: str, status: int) -> None:
    with serving(ScriptedBackend(error=error)) as server, server.client() as client:
        found, text, beside = client.refusal("ModelInfer", tensor())
        assert found == code, text
        assert "secret" not in text
        assert (text == str(error)) == (code != "INTERNAL")
        if code == "RESOURCE_EXHAUSTED":
            assert (beside["retry-after"], beside["grpc-retry-pushback-ms"]) == ("2", "2000")
    assert [record.status for record in server.log.records] == [status]


def test_every_call_has_its_record_in_the_request_log() -> None:
    with serving() as server, server.client() as client:
        client.infer(x_request_id="mine", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
        client.refusal("ModelInfer", tensor(model_name="other"))
    good, bad = server.log.records
    assert (good.identity.request_id, good.status, good.model, good.subnet) == ("mine", 200, MODEL, "s50")
    assert good.identity.trace is not None
    assert (good.method, good.path, good.client) == (
        "POST",
        "/inference.GRPCInferenceService/ModelInfer",
        "127.0.0.1",
    )
    assert good.received == tensor().ByteSize()
    assert good.sent > 0
    assert good.budget is not None
    assert (bad.status, bad.model) == (404, None)


def test_statistics_and_metrics_count_calls() -> None:
    with serving() as server, server.client() as client:
        client.infer()
        client.refusal("ModelInfer", changed(name="x"))
        client.refusal("ModelInfer", b"\xff\xff")
        assert server.count("downshift_request_duration_seconds_count", subnet="s50") == 1
        assert server.count("downshift_requests_total", subnet="none", outcome="invalid") == 2
        for asked in (pb.ModelStatisticsRequest(name=MODEL), pb.ModelStatisticsRequest()):
            [told] = pb.ModelStatisticsResponse.FromString(
                client.ask("ModelStatistics", asked)[0]
            ).model_stats
            assert (told.name, told.version) == (MODEL, "1")
            assert told.inference_stats.fail.count == 1


def test_a_cancelled_call_is_a_cancelled_request() -> None:
    with serving(ScriptedBackend(keep=True)) as server, server.client() as client:
        call = client.start("ModelInfer", tensor())
        wait_for(lambda: server.backend.waiting)
        call.cancel()
        wait_for(server.backend.waiting[0].cancelled)
    assert [record.status for record in server.log.records] == [499]


def test_a_call_whose_deadline_passes_is_cancelled_too() -> None:
    with serving(ScriptedBackend(keep=True)) as server, server.client() as client:
        code, _, _ = client.refusal("ModelInfer", tensor(), timeout=0.2)
        assert code == "DEADLINE_EXCEEDED"
        wait_for(server.backend.waiting[0].cancelled)


def test_a_lone_call_may_run_inline_and_concurrent_ones_may_not() -> None:
    with serving() as server, server.client() as client:
        wait_for(lambda: client.infer() and server.backend.inlines[-1])
        server.backend.keep = True
        waiting = client.start("ModelInfer", tensor())
        wait_for(lambda: server.backend.waiting)
        other = client.start("ModelInfer", tensor())
        wait_for(lambda: len(server.backend.waiting) == 2)
        assert server.backend.inlines[-1] is False
        waiting.cancel()
        other.cancel()


def test_a_method_without_an_implementation_says_so(client) -> None:
    assert client.refusal("TraceSetting", b"")[0] == "UNIMPLEMENTED"
    assert client.refusal("RepositoryIndex", b"")[0] == "UNIMPLEMENTED"


def test_a_large_typed_request_is_read_beside_the_event_loop(server, client) -> None:
    batch = 200
    asked = tensor(raw=False)
    asked.inputs[0].shape[0] = batch
    asked.inputs[0].datatype = "FP64"
    asked.inputs[0].contents.fp64_contents.extend(range(12 * batch))
    asked.id = "x" * 200
    asked.inputs[0].contents.bytes_contents.append(bytes(300_000))
    client.infer(asked)
    np.testing.assert_array_equal(
        server.backend.requests[-1].inputs.ravel(), np.arange(12 * batch, dtype=np.float32)
    )


def test_json_of_http_and_grpc_say_the_same(server, client) -> None:
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/v2/models/{MODEL}/config") as answer:
        over_http = orjson.loads(answer.read())
    config = pb.ModelConfigResponse.FromString(
        client.ask("ModelConfig", pb.ModelConfigRequest(name=MODEL))[0]
    ).config
    assert {name: each.string_value for name, each in config.parameters.items()} == {
        name: each["string_value"] for name, each in over_http["parameters"].items()
    }
