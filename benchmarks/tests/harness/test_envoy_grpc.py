"""Envoy's configuration, run for real in front of two servers that speak gRPC."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import grpc
import pytest

from benchmarks.harness.proxies import envoy, envoy_program
from tests.server.doubles import ScriptedBackend
from tests.server.grpc.serving import Client, Serving, serving, tensor
from tests.server.listening import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(envoy_program() is None, reason="Envoy is not installed")
REQUESTS = 20


@pytest.fixture
def replicas() -> Iterator[list[Serving]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving(ScriptedBackend())) for _ in range(2)]


@pytest.fixture
def client(replicas: list[Serving], tmp_path: Path) -> Iterator[Client]:
    over_grpc = [int(each.address.rpartition(":")[2]) for each in replicas]
    with envoy([each.port for each in replicas], tmp_path, over_grpc) as proxy:
        client = Client(f"127.0.0.1:{proxy.port}", None)

        def answers() -> bool:
            try:
                return bool(client.infer())
            except grpc.RpcError:  # no health check has passed yet
                return False

        wait_for(answers)
        yield client
        client.channel.close()


def asked(replicas: list[Serving]) -> int:
    return sum(len(each.backend.requests) for each in replicas)


def test_a_call_that_a_draining_replica_refuses_is_answered_by_the_other(
    replicas: list[Serving], client: Client
) -> None:
    replicas[0].catalog.drain()
    before = len(replicas[1].backend.requests)
    for _ in range(REQUESTS):
        assert client.infer()[0].model_name == "pets"
    assert len(replicas[1].backend.requests) == before + REQUESTS


def test_the_call_s_deadline_is_the_budget_behind_the_proxy(replicas: list[Serving], client: Client) -> None:
    def granted() -> float:
        counts = [each.count("downshift_budget_source_total", source="grpc-timeout") for each in replicas]
        return sum(count or 0.0 for count in counts)

    before = granted()
    answer, _ = client.infer(timeout=10.0)
    assert granted() == before + 1
    assert 0 < answer.parameters["latency_budget_remaining_ms"].double_param < 10_200  # rounded up on the way


def test_errors_and_metadata_pass_the_proxy(replicas: list[Serving], client: Client) -> None:
    before = asked(replicas)
    code, text, _ = client.refusal("ModelInfer", tensor(model_name="other"))
    assert (code, "choose one of pets" in text) == ("NOT_FOUND", True)
    assert asked(replicas) == before
    assert client.infer(x_subnet="s90")[1]["x-subnet"] == "s90"


def test_a_stream_passes_the_proxy(client: Client) -> None:
    answers = list(client.stream(tensor(id=str(number)) for number in range(10)))
    assert [each.infer_response.id for each in answers] == [str(number) for number in range(10)]
