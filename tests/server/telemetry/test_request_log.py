from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from downshift.server.telemetry.request_log import RequestLog, RequestRecord
from tests.server.doubles import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

SCOPE: dict[str, Any] = {"method": "GET", "path": "/", "headers": [], "client": ("127.0.0.1", 5)}


def record(path: str = "/") -> RequestRecord:
    return RequestRecord(SCOPE | {"path": path}, began=1.0)


class Memory:
    """A sink that keeps what it is given, or fails."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.lost = 0
        self.broken = False
        self.closed = False

    def __str__(self) -> str:
        return "the memory"

    def write(self, records: Sequence[RequestRecord], lost: int) -> None:
        if self.broken:
            raise OSError("disk full")
        self.paths += [each.path for each in records]
        self.lost += lost

    def close(self) -> None:
        self.closed = True


async def test_a_thread_writes_what_was_added_in_order() -> None:
    memory = Memory()
    records = RequestLog([memory])
    records.start()
    records.add(record("/a"))
    records.add(record("/b"))
    await until(lambda: memory.paths == ["/a", "/b"])
    records.close()


def test_closing_writes_the_rest() -> None:
    memory = Memory()
    records = RequestLog([memory])
    records.start()
    records.add(record("/last"))
    records.close()
    assert memory.paths == ["/last"]
    assert memory.closed


def test_what_is_too_much_is_counted_and_said() -> None:
    memory = Memory()
    records = RequestLog([memory], max_pending=2)
    for path in "abcde":
        records.add(record(path))
    records.close()
    assert memory.paths == ["a", "b"]
    assert memory.lost == 3


def test_a_sink_that_fails_is_named_once_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    broken, memory = Memory(), Memory()
    broken.broken = True
    records = RequestLog([broken, memory])
    with caplog.at_level(logging.ERROR, "downshift.server"):
        for path in "ab":
            records.add(record(path))
            records.flush()
    assert memory.paths == ["a", "b"]
    assert caplog.messages == ["the memory cannot write: disk full; what it is given is lost"]
    broken.broken = False
    records.add(record("c"))
    records.close()
    assert broken.paths == ["c"]


def test_without_a_sink_nothing_is_wanted() -> None:
    records = RequestLog([])
    assert not records.wanted
    records.start()
    records.close()
