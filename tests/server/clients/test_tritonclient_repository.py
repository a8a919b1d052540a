"""tritonclient's model control, unmodified: index, load, unload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.server.clients.served import ADMIN_KEY, seen

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture(scope="module")
def control(address: str) -> Mapping[str, Any]:
    return seen("tritonclient_repository.py", "mlserver", address, ADMIN_KEY)


def state(index: list[dict[str, str]]) -> tuple[str, str, str]:
    [entry] = index
    return entry["name"], entry["version"], entry["state"]


def test_it_replaces_the_model_by_its_next_version(control: Mapping[str, Any]) -> None:
    assert state(control["before"]) == ("tiny", "1", "READY")
    assert state(control["loaded"]) == ("tiny", "2", "READY")
    assert control["answers"] == "2"


def test_it_needs_the_administrator_s_key(control: Mapping[str, Any]) -> None:
    assert control["without_key"] == "401"


def test_it_unloads_the_model_and_loads_it_again(control: Mapping[str, Any]) -> None:
    assert state(control["unloaded"])[2] == "UNAVAILABLE"
    assert control["unloaded_ready"] is False
    assert control["unloaded_infer"] in {"404", "503"}
    ready, index = control["again"]
    assert ready is True
    assert state(index)[2] == "READY"
