"""Server-sent events behind the page: one event a second to every open stream.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from downshift.server.connection.concurrency import streaming
from downshift.server.connection.disconnect import disconnected
from downshift.server.errors import ServerFault, TooManyStreams
from downshift.server.telemetry.history import Sample

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from downshift.server.catalog import Catalog
    from downshift.server.telemetry.history import History

MAX_EVENTS = 600  # in one stream; browsers reconnect by themselves, an abandoned stream ends
WRITE_TIMEOUT = 10.0  # seconds until a client that does not read is disconnected
_TICK_OFFSET = 0.02  # seconds past the full one, as timers may fire early
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]


class Feed:
    """Samples the server once a second and wakes every stream. Owned by the event loop's thread."""

    def __init__(self, catalog: Catalog, history: History, limit: int) -> None:
        """limit: streams at once."""
        self._catalog = catalog
        self._history = history
        self._limit = limit
        self._streams = 0
        self._next = asyncio.Event()

    @property
    def streams(self) -> int:
        """Streams that are open now."""
        return self._streams

    async def run(self) -> None:
        """Tick at the beginning of every second, until cancelled."""
        while True:
            await asyncio.sleep(1.0 + _TICK_OFFSET - time.monotonic() % 1.0)
            self.tick()

    def tick(self) -> None:
        """Sample the second that ended, and wake every stream."""
        served = self._catalog.served
        self._history.sample(
            Sample(
                served[0].backend.load.cpu_utilization if served else 0.0,
                served[0].backend.load.gpus if served else (),
                {
                    model.name: (model.backend.scheduler.queued, model.backend.scheduler.in_flight)
                    for model in served
                },
            )
        )
        self._next.set()
        self._next = asyncio.Event()

    async def next_tick(self) -> None:
        """Return at the next tick."""
        await self._next.wait()

    def enter(self) -> None:
        """Count a stream that opens; raises `TooManyStreams` at the limit."""
        if self._streams >= self._limit:
            raise TooManyStreams(self._limit)
        self._streams += 1

    def leave(self) -> None:
        """Count a stream that closes."""
        self._streams -= 1

    @property
    def draining(self) -> bool:
        """The server is shutting down, so that streams must end."""
        return self._catalog.draining

    def message(self, since: int) -> tuple[bytes, int]:
        """The event that tells of every second after that one, and the last second it tells of."""
        seconds = self._history.since(since)
        state: dict[str, Any] = {
            "state": "draining" if self.draining else "ready" if self._catalog.ready else "loading",
            "models": [self._model(name) for name in self._catalog.names],
            "seconds": seconds,
        }
        last = seconds[-1]["second"] if seconds else since
        return b"data: " + orjson.dumps(state) + b"\n\n", last

    def _model(self, name: str) -> dict[str, Any]:
        """Whether the model answers, and which version of it."""
        try:
            return {"name": name, "version": self._catalog.get(name).version}
        except ServerFault:
            return {"name": name, "version": None}


class EventStream(Response):
    """A streaming response: the history at once, then each second as it ends.

    Ends when the client disconnects or stops reading, when the server drains, and after `MAX_EVENTS` events.
    """

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the stream ends; raises `TooManyStreams` before anything is sent."""
        with streaming(scope):
            await self._stream(receive, send)

    async def _stream(self, receive: Receive, send: Send) -> None:
        self._feed.enter()
        gone = asyncio.ensure_future(disconnected(receive))
        try:
            async with asyncio.timeout(None) as timeout:
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                since = -1
                for left in reversed(range(MAX_EVENTS)):
                    timeout.reschedule(asyncio.get_running_loop().time() + WRITE_TIMEOUT)
                    message, since = self._feed.message(since)
                    await send({"type": "http.response.body", "body": message, "more_body": True})
                    if self._feed.draining or not left:
                        break
                    timeout.reschedule(None)
                    tick = asyncio.ensure_future(self._feed.next_tick())
                    await asyncio.wait((tick, gone), return_when=asyncio.FIRST_COMPLETED)
                    tick.cancel()
                    if gone.done():
                        return
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:  # the client stopped reading; uvicorn closes its connection
            return
        finally:
            gone.cancel()
            self._feed.leave()


def events_router(feed: Feed) -> APIRouter:
    """`GET /events`, which is no part of the OpenAPI document: it never ends."""
    router = APIRouter(tags=["page"])

    @router.get("/events", include_in_schema=False)
    async def events() -> Response:
        """Server-sent events, one a second."""
        return EventStream(feed)

    return router
