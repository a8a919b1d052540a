from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from prometheus_client import CollectorRegistry

from downshift.runtime.request import Outcome, Request
from downshift.server.catalog import Catalog
from downshift.server.errors import TooManyStreams
from downshift.server.page.events import EventStream, Feed
from downshift.server.settings import Settings
from downshift.server.telemetry.history import History
from downshift.server.telemetry.metrics import Metrics
from tests.runtime.doubles import settled
from tests.server.doubles import MODEL, ScriptedBackend, serving, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Browser:
    """A client of one stream: what it was sent, and a way to close its window."""

    def __init__(self, feed: Feed, before: Callable[[], Awaitable[None]] | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self.closed = asyncio.Event()
        self._before = before
        self.task = asyncio.ensure_future(
            EventStream(feed)({"type": "http"}, self._receive, self._send)  # type: ignore[arg-type]
        )

    async def _receive(self) -> dict[str, Any]:
        await self.closed.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if self._before is not None:
            await self._before()
        self.messages.append(message)

    @property
    def events(self) -> list[dict[str, Any]]:
        bodies = [message["body"] for message in self.messages if message.get("body")]
        assert all(body.startswith(b"data: ") and body.endswith(b"\n\n") for body in bodies)
        return [orjson.loads(body[6:]) for body in bodies]

    @property
    def ended(self) -> bool:
        return not self.messages[-1].get("more_body", self.messages[-1]["type"] == "http.response.start")


class Room:
    """A feed over one model, on a clock that the test sets."""

    def __init__(self, limit: int = 2, ready: bool = True) -> None:
        self.time = 100.0
        self.backend = ScriptedBackend()
        self.catalog = Catalog([MODEL])
        if ready:
            self.catalog.publish(MODEL, self.backend)
        self.feed = Feed(self.catalog, History(seconds=5, now=lambda: self.time), limit)

    def second(self) -> None:
        self.time += 1
        self.feed.tick()


async def test_the_past_comes_at_once_and_then_every_second_as_it_ends() -> None:
    room = Room()
    room.backend.scheduler.queued = 4
    room.second()
    browser = Browser(room.feed)
    await until(lambda: len(browser.events) == 1)
    assert browser.messages[0]["headers"][0] == (b"content-type", b"text/event-stream; charset=utf-8")
    first = browser.events[0]
    assert (first["state"], first["models"]) == ("ready", [{"name": MODEL, "version": "1"}])
    assert [each["second"] for each in first["seconds"]] == [96, 97, 98, 99, 100]
    assert first["seconds"][-1]["models"] == {MODEL: {"queued": 4, "in_flight": 0}}
    for second in (101, 102):
        room.second()
        await until(lambda: len(browser.events) == second - 99)  # noqa: B023  at once
        assert [each["second"] for each in browser.events[-1]["seconds"]] == [second]
    browser.closed.set()
    await asyncio.wait_for(browser.task, 60)


async def test_a_client_that_vanishes_gives_its_place_back() -> None:
    room = Room(limit=1)
    for _ in range(3):
        browser = Browser(room.feed)
        await until(lambda: browser.messages)  # noqa: B023  at once
        assert room.feed.streams == 1
        browser.closed.set()
        await asyncio.wait_for(browser.task, 60)
        assert room.feed.streams == 0


async def test_no_more_streams_than_may_be() -> None:
    room = Room(limit=1)
    browser = Browser(room.feed)
    await until(lambda: browser.messages)
    with pytest.raises(TooManyStreams, match="1 pages are watching this server, as many as may: close one"):
        await Browser(room.feed).task
    assert room.feed.streams == 1
    browser.closed.set()
    await asyncio.wait_for(browser.task, 60)


async def test_a_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downshift.server.page.events.WRITE_TIMEOUT", 0.0)
    room = Room()

    async def stuck() -> None:
        if browser.messages:
            await asyncio.Event().wait()

    browser = Browser(room.feed, stuck)
    await asyncio.wait_for(browser.task, 60)
    assert room.feed.streams == 0


async def test_a_stream_ends_after_its_longest_time_so_that_the_lost_end_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("downshift.server.page.events.MAX_EVENTS", 2)
    room = Room()
    browser = Browser(room.feed)
    await until(lambda: browser.events)
    await asyncio.sleep(0)
    room.second()
    await asyncio.wait_for(browser.task, 60)
    assert browser.ended
    assert len(browser.events) == 2


async def test_draining_is_told_and_ends_the_stream() -> None:
    room = Room()
    browser = Browser(room.feed)
    await until(lambda: browser.events)
    room.catalog.drain()
    room.second()
    await asyncio.wait_for(browser.task, 60)
    assert browser.events[-1]["state"] == "draining"
    assert browser.ended


async def test_a_model_that_is_not_ready_has_no_version_yet() -> None:
    room = Room(ready=False)
    room.second()
    browser = Browser(room.feed)
    await until(lambda: browser.events)
    assert (browser.events[0]["state"], browser.events[0]["models"]) == (
        "loading",
        [{"name": MODEL, "version": None}],
    )
    browser.closed.set()
    await asyncio.wait_for(browser.task, 60)


async def test_the_server_answers_429_where_no_page_may_watch() -> None:
    async with serving(max_streams=0) as served:
        response = await served.client.get("/events")
    assert response.status_code == 429
    assert response.json() == {"error": "0 pages are watching this server, as many as may: close one of them"}


def test_the_scheduler_s_events_reach_the_history() -> None:
    metrics, backend = Metrics(CollectorRegistry()), ScriptedBackend()
    observer = metrics.announce(MODEL, backend.manifest, [])

    request = Request(np.zeros((1, 1), np.float32))
    observer.settled(settled(request, Outcome.OK, "s50", "x", 0.001, 0.002, None))
    assert Settings().max_streams == 32
    ring = metrics.history._models[MODEL]
    assert any(second.outcomes == {"ok": 1} for second in ring)
