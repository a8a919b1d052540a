"""Keep-alive HTTP connections to one server, polled by one thread: what every client here sends with."""

from __future__ import annotations

import re
import select
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
OK = 200
CONNECT_SECONDS = 60.0
_CHUNK = 1 << 18  # bytes
_SEND_BUFFER = 1 << 20  # bytes: an image of 224 x 224 leaves in one call
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_SUBNET = re.compile(rb"\r\nx-subnet: *([!-~]+)", re.IGNORECASE)
_TIMING = re.compile(rb"\r\nserver-timing: *([^\r]+)", re.IGNORECASE)
_DURATION = re.compile(rb"(\w+);dur=([0-9.]+)")
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)

Key = TypeVar("Key")


class Answer(NamedTuple):
    """An HTTP answer: its head without the empty line, and its body."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        """Its status code."""
        return int(self.head[9:12])

    @property
    def subnet(self) -> str:
        """The sub-net that the server names, or nothing."""
        named = _SUBNET.search(self.head)
        return named[1].decode() if named else ""

    @property
    def durations(self) -> dict[str, float]:
        """Seconds by name in `Server-Timing`."""
        timing = _TIMING.search(self.head)
        found = _DURATION.findall(timing[1]) if timing else ()
        return {name.decode(): float(milliseconds) / 1e3 for name, milliseconds in found}

    @property
    def closes(self) -> bool:
        """Whether the server closes the connection after it."""
        return _CLOSE.search(self.head) is not None


@dataclass(eq=False)
class _Connection(Generic[Key]):
    """A connection and the request on it; `key` is None while it is free."""

    socket: socket.socket
    key: Key | None = None
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytes = b""

    def send(self) -> bool:
        """Send what the socket takes; True while there is more."""
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return True
        except OSError:  # the server has disconnected: reading tells
            self.unsent = memoryview(b"")
        return False

    def receive(self) -> Answer | bool:
        """The answer when it is whole, True while it is not, False when it never will be."""
        try:
            chunk = self.socket.recv(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.received += chunk
        head, end, body = self.received.partition(b"\r\n\r\n")
        if end:
            length = _LENGTH.search(head)
            if len(body) >= (int(length[1]) if length else 0):
                self.received = b""
                return Answer(head, body)
        return bool(chunk)


class Connections(Generic[Key]):
    """At most `most` connections to a port, at most one request on each.

    They are opened when they are needed, and closed when the server closes them. A connection that is not
    answered the whole of its request is closed, too.
    """

    def __init__(self, port: int, most: int) -> None:
        self._port, self._most = port, most
        self._poller = select.epoll()
        self._open: dict[int, _Connection[Key]] = {}
        self._free: list[_Connection[Key]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._open.values():
            connection.socket.close()
        self._poller.close()

    @property
    def available(self) -> bool:
        """Whether another request can be sent now."""
        return bool(self._free) or len(self._open) < self._most

    def send(self, key: Key, request: bytes) -> None:
        """Send a whole request; raises `OSError` when no connection can be opened."""
        connection = self._free.pop() if self._free else self._connect()
        connection.key, connection.unsent = key, memoryview(request)
        if connection.send():
            self._poller.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def answers(self, timeout: float | None = None) -> Iterator[tuple[Key, Answer | None]]:
        """What came within `timeout` seconds: the request's key and its answer, None if it was cut off."""
        if timeout is None:
            events = self._poller.poll()
        else:
            select.select([self._poller], [], [], timeout)  # poll() rounds up to a whole millisecond
            events = self._poller.poll(0)
        for descriptor, event in events:
            connection = self._open[descriptor]
            if event & select.EPOLLOUT and not connection.send():
                self._poller.modify(descriptor, select.EPOLLIN)
            if event & ~select.EPOLLOUT and (answer := connection.receive()) is not True:
                key, connection.key = connection.key, None
                self._settle(connection, answer or None, idle=key is None)
                if key is not None:
                    yield key, answer or None

    def _connect(self) -> _Connection[Key]:
        opened = socket.create_connection((HOST, self._port), timeout=CONNECT_SECONDS)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        opened.setblocking(False)
        connection = self._open[opened.fileno()] = _Connection[Key](opened)
        self._poller.register(opened, select.EPOLLIN)
        return connection

    def _settle(self, connection: _Connection[Key], answer: Answer | None, *, idle: bool) -> None:
        """Free a connection, or close it where it cannot carry another request."""
        if answer is not None and not (idle or answer.closes or connection.unsent):
            self._free.append(connection)
            return
        if idle:
            self._free.remove(connection)
        self._poller.unregister(connection.socket)
        del self._open[connection.socket.fileno()]
        connection.socket.close()
