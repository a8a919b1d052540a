"""The HTTP protocol with its limits: how many connections, how large a head, how slow a client.

uvicorn with httptools bounds none of these. Against slowloris, `ConnectionLimits` bounds how long a
connection may wait for its first byte, its head and its body. A timer is set only for what has not arrived
in one piece, so that an ordinary request pays for one comparison.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from downshift.server.connection.arrival import ARRIVAL
from downshift.server.connection.concurrency import track
from downshift.server.connection.disconnect import DISCONNECT, Disconnect
from downshift.server.connection.upgrade import CONNECT, HTTP2_PREFACE, UpgradeIgnoringProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import MutableMapping

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

PIPELINED = 32  # requests of one connection that may wait for its first


@dataclass(frozen=True)
class ConnectionLimits:
    """connections: open at once. head_bytes: of request line and headers.

    head_seconds: until a connection's first byte, and from a request's first byte until its head is whole;
    body_seconds: from there until its body is, too.
    """

    connections: int = 4096
    head_bytes: int = 32 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 30.0


class Phase(Enum):
    """What a connection waits for: a new request's first byte, or the rest of its head or body."""

    IDLE = 0
    HEAD = 1
    BODY = 2


class Refusal(Exception):  # noqa: N818 - what it is, raised through the parser
    """A request that is refused before there is an application to answer it."""

    def __init__(self, status: HTTPStatus, text: str, headers: bytes = b"") -> None:
        self.status, self.text, self.headers = status, text, headers
        super().__init__(text)


class HttpProtocol(UpgradeIgnoringProtocol):
    """One connection, which stamps the arrival of its requests before their heads are parsed.

    Every request's scope also gets the disconnect event of its connection and the server's concurrency.
    """

    def __init__(self, *arguments: Any, limits: ConnectionLimits = ConnectionLimits(), **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._limits = limits
        self._disconnect = Disconnect()
        self._phase = self._watched = Phase.IDLE
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: Refusal | None = None
        self._overtaken: WeakSet[RequestResponseCycle] = WeakSet()  # pipelined requests but the last

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or say that there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self.connections.discard(self)
            most = self._limits.connections
            text = f"{most} connections are open, which is the limit: try again shortly"
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, text, b"retry-after: 1\r\n")
        else:
            self._timer = self.loop.call_later(self._limits.head_seconds, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer and whatever waits in the pipeline; tell the request that is being answered.

        uvicorn tells only the last one that arrived.
        """
        self._set_timer(None)
        self.pipeline.clear()
        super().connection_lost(exc)
        for cycle in self._overtaken:
            cycle.disconnected = True
            cycle.message_event.set()
        self._disconnect.set()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and watch over what has not come yet."""
        if self.transport.is_closing():  # what a client sends after its last answer
            return
        super().data_received(data)
        if self._phase is Phase.HEAD:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes:
                self._refusal = self._too_large()
                self.send_400_response("")
        if self._timer is None and self._phase is Phase.IDLE:
            return
        if self._phase is not self._watched or self._phase is Phase.IDLE:
            self._watched = self._phase
            self._set_timer(None if self._phase is Phase.IDLE else self._seconds)

    def on_message_begin(self) -> None:
        """A head begins: stamp the arrival; a head that is parsed again arrived when it was parsed first."""
        before = self.scope if self._replaying else None
        super().on_message_begin()
        scope = cast("MutableMapping[str, Any]", self.scope)
        began: float = time.monotonic() if before is None else cast("Any", before)[ARRIVAL]
        scope[ARRIVAL] = began
        scope[DISCONNECT] = self._disconnect
        track(scope, self.server_state, self._disconnect, began)
        self._phase, self._watched, self._head_bytes = Phase.HEAD, Phase.IDLE, 0

    def on_headers_complete(self) -> None:
        """The head is whole: start the application, unless it is too large or offers an upgrade."""
        if self.offers_upgrade:
            if self.parser.get_method() == CONNECT:
                text = "CONNECT: this server is no proxy; send requests to its own resources"
                self._refusal = Refusal(HTTPStatus.METHOD_NOT_ALLOWED, text, b"allow: GET, HEAD, POST\r\n")
                raise self._refusal
            return
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.head_bytes:
            self._refusal = self._too_large()
            raise self._refusal
        if len(self.pipeline) >= PIPELINED:
            text = f"more than {PIPELINED} requests wait on this connection: read their answers first"
            self._refusal = Refusal(HTTPStatus.TOO_MANY_REQUESTS, text)
            raise self._refusal
        self._phase = Phase.BODY
        before = self.cycle
        super().on_headers_complete()
        if self.pipeline and before is not None:
            self._overtaken.add(before)

    def on_message_complete(self) -> None:
        """The body is whole: resume reading, or a disconnect after a long body would go unnoticed."""
        if self.offers_upgrade:
            return
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()
        self._phase = Phase.IDLE

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text, for which ours stands
        """Answer what cannot be parsed, and close; requests before it are still answered."""
        refusal = self._refusal or self._not_http()
        cycle, within = self.cycle, self._phase is Phase.BODY
        self._phase = Phase.IDLE
        if cycle is None or cycle.response_complete or (within and not cycle.response_started):
            self._answer(refusal.status, refusal.text, refusal.headers)
        elif within:
            self.transport.close()
        else:
            cycle.keep_alive = False
            self.flow.pause_reading()

    def _not_http(self) -> Refusal:
        if self.parser.get_method() == HTTP2_PREFACE:
            text = "this port speaks HTTP/1.1 and not HTTP/2: connect without prior knowledge of HTTP/2"
            return Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, text)
        text = "this is not HTTP/1.1: check Content-Length, Transfer-Encoding and the head"
        return Refusal(HTTPStatus.BAD_REQUEST, text)

    def _too_large(self) -> Refusal:
        text = f"the request's head is larger than {self._limits.head_bytes} bytes: send shorter headers"
        return Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text)

    @property
    def _seconds(self) -> float:
        return self._limits.body_seconds if self._phase is Phase.BODY else self._limits.head_seconds

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        """What the connection waits for has not come."""
        self._timer = None
        busy = self.cycle is not None and not self.cycle.response_complete
        if self._phase is Phase.IDLE:
            if not busy:
                self.transport.close()
        elif self.pipeline or (busy and self._phase is Phase.HEAD):  # it waits for us
            self._set_timer(self._seconds)
        elif self._phase is Phase.BODY and (not busy or self.cycle.response_started):
            self.transport.close()
        else:
            part = "body" if self._phase is Phase.BODY else "head"
            self._answer(
                HTTPStatus.REQUEST_TIMEOUT, f"the request's {part} did not arrive in time: send it again"
            )

    def _answer(self, status: HTTPStatus, text: str, more: bytes = b"") -> None:
        body = orjson.dumps({"error": text})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + more + b"\r\n" + body)
        self.transport.close()
