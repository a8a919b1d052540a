"""The gRPC server: health, reflection, keys, limits, TLS, and how it ends."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from downshift.models.artifact import write
from downshift.server.catalog import Catalog
from downshift.server.connection.listener import listen
from downshift.server.errors import BadSetting
from downshift.server.grpc import inference_pb2 as pb
from downshift.server.grpc.calls import timeout_value
from downshift.server.grpc.server import SERVICE
from downshift.server.serve import grpc_server, run
from tests.models.tiny_artifact import tiny_artifact
from tests.server.connection.test_tls import make_certificate, tls_files
from tests.server.doubles import MODEL, ScriptedBackend
from tests.server.grpc.serving import SECONDS, serving, tensor
from tests.server.listening import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.grpc.serving import Client

KEY = "a-key-for-clients"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health(client: Client, service: str = "") -> Any:
    """What the health service says of a service, asked by the library's own client."""
    stub = health_pb2_grpc.HealthStub(client.channel)  # type: ignore[no-untyped-call]
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS).status


def test_the_health_service_follows_the_catalog() -> None:
    with serving() as server, server.client() as client:
        assert health(client) == health(client, SERVICE) == SERVING
        server.backend.scheduler.serving = False
        wait_for(lambda: health(client) == NOT_SERVING)
        server.backend.scheduler.serving = True
        wait_for(lambda: health(client, SERVICE) == SERVING)


def test_the_health_service_goes_on_after_a_failure_which_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Catalog) -> bool:
        raise OSError("too many open files")

    with serving() as server, server.client() as client:
        with monkeypatch.context() as patch:
            patch.setattr(Catalog, "ready", property(broken))
            wait_for(lambda: errors_of(server.catalog) > 0)
        server.backend.scheduler.serving = False
        wait_for(lambda: health(client) == NOT_SERVING)


def errors_of(catalog: Catalog) -> int:
    """Failures of the worker that tells the health."""
    return next(each.errors for each in catalog.supervisor.health if each.name == "grpc-health")


def test_a_client_can_watch_the_health() -> None:
    with serving() as server, server.client() as client:
        stub = health_pb2_grpc.HealthStub(client.channel)  # type: ignore[no-untyped-call]
        watching = stub.Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        assert next(watching).status == SERVING
        server.backend.scheduler.serving = False
        assert next(watching).status == NOT_SERVING
        watching.cancel()


def test_a_reflection_client_finds_the_service_and_can_call_it() -> None:
    with serving() as server, server.client() as client:
        database = ProtoReflectionDescriptorDatabase(client.channel)
        assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
        found = DescriptorPool(database).FindServiceByName(SERVICE)
        assert {method.name for method in found.methods} == {
            method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
        }
        assert found.methods_by_name["ModelInfer"].input_type.fields_by_name["raw_input_contents"].number == 7


def test_calls_need_a_key_where_keys_are_needed_but_health_does_not() -> None:
    with serving(api_keys=KEY, admin_keys="another-key") as server, server.client() as client:
        assert health(client) == SERVING
        assert pb.ServerLiveResponse.FromString(client.ask("ServerLive", b"")[0]).live
        assert pb.ServerReadyResponse.FromString(client.ask("ServerReady", b"")[0]).ready
        for name, message in (("ServerMetadata", b""), ("ModelInfer", tensor())):
            code, text, _ = client.refusal(name, message)
            assert (code, "authorization: Bearer KEY" in text) == ("UNAUTHENTICATED", True)
            assert client.refusal(name, message, x_api_key="not-a-valid-key")[0] == "UNAUTHENTICATED"
            client.ask(name, message, authorization=f"Bearer {KEY}")
            client.ask(name, message, x_api_key="another-key")
        with pytest.raises(grpc.RpcError) as refused:
            ProtoReflectionDescriptorDatabase(client.channel).get_services()
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert [record.status for record in server.log.records].count(401) == 4


def test_a_message_beyond_the_limit_is_refused() -> None:
    with serving(max_body_bytes=1000) as server, server.client() as client:
        code, text, _ = client.refusal("ModelInfer", tensor(raw_input_contents=[bytes(200_000)]))
        assert code == "RESOURCE_EXHAUSTED"
        assert "larger than max" in text
        client.infer()
    assert len(server.backend.requests) == 1


def test_metadata_beyond_the_limit_are_refused() -> None:
    with serving(max_head_bytes=2048) as server, server.client() as client:
        code, _, _ = client.refusal("ModelInfer", tensor(), x_subnet="s" * 5000)
        assert code == "RESOURCE_EXHAUSTED"
        client.infer()
    assert len(server.backend.requests) == 1


def test_more_calls_than_may_be_are_refused() -> None:
    with serving(ScriptedBackend(keep=True), max_connections=2) as server, server.client() as client:
        waiting = [client.start("ModelInfer", tensor()) for _ in range(2)]
        wait_for(lambda: len(server.backend.waiting) == 2)
        assert client.refusal("ModelInfer", tensor())[0] == "RESOURCE_EXHAUSTED"
        for call in waiting:
            call.cancel()


def test_more_connections_than_may_be_are_refused() -> None:
    with serving(max_connections=2) as server, server.client() as first, server.client() as second:
        first.infer()
        second.infer()
        with server.client() as third:
            assert third.refusal("ModelInfer", tensor(), timeout=10.0)[0] == "UNAVAILABLE"
        first.infer()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_tls_uses_the_files_as_they_are_now(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    with serving(**tls_files(tmp_path)) as server:
        first = grpc.ssl_channel_credentials((tmp_path / "cert.pem").read_bytes())
        with server.client(first) as client:
            client.infer()
        make_certificate(tmp_path)
        second = grpc.ssl_channel_credentials((tmp_path / "cert.pem").read_bytes())

        def changed() -> bool:
            with server.client(second) as client, suppress(grpc.RpcError):
                client.infer(timeout=5.0)
                return True
            return False

        wait_for(changed)
        with server.client(first) as client:
            assert client.refusal("ModelInfer", tensor(), timeout=5.0)[0] == "UNAVAILABLE"
        with server.client() as client:
            assert client.refusal("ModelInfer", tensor(), timeout=5.0)[0] == "UNAVAILABLE"


def test_a_server_that_drains_answers_what_it_accepted_and_refuses_the_rest() -> None:
    with serving(ScriptedBackend(keep=True)) as server, server.client() as client:
        accepted = client.start("ModelInfer", tensor())
        wait_for(lambda: server.backend.waiting)
        server.server.handle_exit(15, None)
        code, text, _ = client.refusal("ModelInfer", tensor())
        assert (code, "shutting down" in text) == ("UNAVAILABLE", True)
        wait_for(lambda: health(client) == NOT_SERVING)
        server.backend.keep = False
        answer = server.backend.submit(server.backend.requests[0]).result()
        server.backend.waiting[0].set_result(answer)
        assert pb.ModelInferResponse.FromString(accepted.result()).outputs[0].name == "logits"
        server.thread.join(SECONDS)
        assert not server.thread.is_alive()
        with server.client() as late:
            assert late.refusal("ModelInfer", tensor(), timeout=5.0)[0] == "UNAVAILABLE"


def test_many_clients_at_once_are_all_answered() -> None:
    with serving() as server, ThreadPoolExecutor(8) as pool:

        def ask(_: int) -> list[str]:
            with server.client() as client:
                return [client.infer()[0].model_name for _ in range(25)]

        assert [name for names in pool.map(ask, range(8)) for name in names] == [MODEL] * 200


@pytest.mark.parametrize(
    ("seconds", "value"),
    [(1.5, b"1500000u"), (99.999999, b"99999999u"), (100.0, b"100000m"), (-1.0, b"1u"), (1e9, b"99999999m")],
)
def test_the_time_left_is_told_as_the_header_that_it_came_in(seconds: float, value: bytes) -> None:
    assert timeout_value(seconds) == value


def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path: Path) -> None:
    write(tmp_path / "tiny.onnx", tiny_artifact())
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSetting, match=f"port {port} .*: choose another with --grpc-port"):
            run(tmp_path / "tiny.onnx", port=0, grpc_port=port, cache_dir=tmp_path)


def test_without_the_extra_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "downshift.server.grpc.server", None)
    with pytest.raises(BadSetting, match=r"pip install 'downshift\[grpc\]'"):
        grpc_server("127.0.0.1:0")
