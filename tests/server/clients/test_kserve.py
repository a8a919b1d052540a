"""KServe's InferenceRESTClient and InferenceGRPCClient, unmodified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.server.clients.served import MODEL, seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VALUES = np.linspace(-1, 1, 2 * 75, dtype=np.float32).reshape(2, 3, 5, 5)


@pytest.fixture(scope="module")
def rest(address: str) -> Mapping[str, Any]:
    return seen("kserve_rest.py", "kserve", address)


def test_it_finds_everything_alive_and_ready(rest: Mapping[str, Any]) -> None:
    assert rest["health"] == [True, True, True]
    assert rest["other_model"] is False


@pytest.mark.parametrize("way", ["json", "binary"])
def test_it_gets_the_answer_with_its_headers(
    rest: Mapping[str, Any], way: str, expected: Callable[..., list[float]]
) -> None:
    answer = rest[way]
    assert answer["logits"] == pytest.approx(expected(VALUES), rel=1e-4, abs=1e-5)
    assert (answer["id"], answer["model"], answer["subnet"]) == ("seven", MODEL, "s0")


def test_a_refusal_is_an_exception_with_status_and_sentence(rest: Mapping[str, Any]) -> None:
    status, message = rest["refusal"]
    assert status == 400
    assert "this model takes [N, 3, 5, 5]" in message


def test_it_is_answered_over_grpc_as_it_asked(
    grpc_address: str, expected: Callable[..., list[float]]
) -> None:
    found = seen("kserve_grpc.py", "kserve", grpc_address)
    assert found["health"] == [True, True, True]
    for way in ("raw", "typed"):
        assert found[way]["logits"] == pytest.approx(expected(VALUES), rel=1e-4, abs=1e-5)
        assert found[way]["id"] == "seven"
