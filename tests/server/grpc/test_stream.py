"""`ModelStreamInfer`: each message is a request of its own, answered in the order of the requests."""

from __future__ import annotations

import threading

import grpc
import pytest

from tests.server.doubles import ScriptedBackend
from tests.server.grpc.serving import serving, tensor
from tests.server.listening import wait_for


def test_every_message_is_answered_in_its_turn() -> None:
    with serving() as server, server.client() as client:
        answers = list(client.stream(tensor(id=str(number)) for number in range(100)))
    assert [each.infer_response.id for each in answers] == [str(number) for number in range(100)]
    assert all(each.infer_response.parameters["triton_final_response"].bool_param for each in answers)
    assert not any(each.error_message for each in answers)
    assert [record.status for record in server.log.records] == [200] * 100


def test_a_message_that_is_refused_leaves_the_others_alone() -> None:
    with serving() as server, server.client() as client:
        messages = [tensor(id="a"), tensor(id="b", model_name="other"), tensor(id="c")]
        answers = list(client.stream(iter(messages)))
    assert [each.infer_response.id for each in answers] == ["a", "b", "c"]
    assert [bool(each.error_message) for each in answers] == [False, True, False]
    assert "choose one of pets" in answers[1].error_message
    assert [record.status for record in server.log.records] == [200, 404, 200]


def test_messages_wait_for_one_another_only_in_their_answers() -> None:
    with serving(ScriptedBackend(keep=True)) as server, server.client() as client:
        stop = threading.Event()

        def messages():
            for number in range(3):
                yield tensor(id=str(number))
            stop.wait(30)

        stream = client.stream(messages())
        wait_for(lambda: len(server.backend.waiting) == 3)
        stream.cancel()
        stop.set()
        wait_for(lambda: all(each.cancelled() for each in server.backend.waiting))


def test_a_stream_without_a_key_is_refused_before_its_first_message() -> None:
    with serving(api_keys="a-key-for-clients") as server, server.client() as client:
        with pytest.raises(grpc.RpcError) as refused:
            list(client.stream(iter([tensor()])))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        [answer] = client.stream(iter([tensor(id="a")]), x_api_key="a-key-for-clients")
        assert answer.infer_response.id == "a"
