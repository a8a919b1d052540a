"""An open-loop load generator: requests leave when their trace says so, whatever became of those before.

One thread, one `select`, keep-alive connections. A request's latency counts from when it was due, so that
time it waited in this process, for a connection or the processor, is not hidden (no coordinated omission).
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CHUNK = 65536
SEND_BUFFER = 2**20
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_SUBNET = re.compile(rb"\r\nx-subnet: *([^\r]+)", re.IGNORECASE)
_TIMING = re.compile(rb"\r\nserver-timing: *queue;dur=([0-9.]+), *infer;dur=([0-9.]+)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Record:
    """What became of every request, arrays [n] in the order of the trace.

    due, sent, ended: seconds from the start: when it should leave, when its first byte did, when its answer
    was there; infinite where that never happened. status: HTTP's, 0 without an answer. subnet: who answered,
    or empty. queued, computed: seconds it waited and the engine took for its batch, as the server says; NaN
    where it does not.
    """

    due: NDArray[np.float64]
    sent: NDArray[np.float64]
    ended: NDArray[np.float64]
    status: NDArray[np.int64]
    subnet: NDArray[np.str_]
    queued: NDArray[np.float64]
    computed: NDArray[np.float64]

    def in_time(self, budget: float) -> NDArray[np.bool_]:
        """Which requests had a good answer within that many seconds of when they were due."""
        good = self.status == 200  # noqa: PLR2004 - HTTP's OK
        return np.asarray(good & (self.ended - self.due <= budget))


@dataclass(eq=False)
class _Connection:
    """A keep-alive connection and the request on it; `request` is -1 while it is free."""

    sock: socket.socket
    request: int = -1
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)
    needed: int = 0  # bytes of the whole answer; 0 until its head is there


class OpenLoop:
    """Sends `requests` in turn, each a whole HTTP/1.1 request, to the server at `url`.

    connections: most that are open at once; when all are taken, requests that are due wait for one. grace:
    seconds after the last request is due that answers are waited for.
    """

    def __init__(
        self, url: str, requests: Sequence[bytes], *, connections: int = 128, grace: float = 5.0
    ) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._requests = requests
        self._most = connections
        self._grace = grace

    def drive(self, times: NDArray[np.float64]) -> Record:
        """Send a request at each of these seconds from now, ascending; returns when all is over."""
        count = len(times)
        record = Record(
            due=times,
            sent=np.full(count, np.inf),
            ended=np.full(count, np.inf),
            status=np.zeros(count, np.int64),
            subnet=np.full(count, "", "U32"),
            queued=np.full(count, np.nan),
            computed=np.full(count, np.nan),
        )
        selector = selectors.SelectSelector()  # the one whose timeouts are not whole milliseconds
        free: list[_Connection] = []
        opened: list[_Connection] = []
        due: deque[int] = deque()
        upcoming = ended = 0
        begin = time.monotonic()
        give_up = float(times[-1]) + self._grace
        try:
            while ended < count and (now := time.monotonic() - begin) < give_up:
                while upcoming < count and times[upcoming] <= now:
                    due.append(upcoming)
                    upcoming += 1
                while due and (free or len(opened) < self._most):
                    connection = free.pop() if free else self._open(selector, opened)
                    self._begin(connection, due.popleft(), record, time.monotonic() - begin, selector)
                until = float(times[upcoming]) if upcoming < count else give_up
                wait = max(0.0, until - (time.monotonic() - begin))
                for key, events in selector.select(wait):
                    connection = key.data
                    if events & selectors.EVENT_WRITE:
                        self._send(connection, selector)
                    if events & selectors.EVENT_READ and self._receive(connection, record, begin):
                        ended += connection.request >= 0
                        self._release(connection, selector, opened, free)
        finally:
            for connection in opened:
                connection.sock.close()
            selector.close()
        return record

    def _open(self, selector: selectors.BaseSelector, opened: list[_Connection]) -> _Connection:
        sock = socket.create_connection(self._address, timeout=self._grace)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.setblocking(False)
        connection = _Connection(sock)
        opened.append(connection)
        selector.register(sock, selectors.EVENT_READ, connection)
        return connection

    @staticmethod
    def _release(
        connection: _Connection,
        selector: selectors.BaseSelector,
        opened: list[_Connection],
        free: list[_Connection],
    ) -> None:
        """Free the connection; or give it up, when it is broken or the server answered half a request."""
        idle, connection.request = connection.request < 0, -1
        if connection.needed and not connection.unsent:
            connection.needed = 0
            free.append(connection)
            return
        selector.unregister(connection.sock)
        connection.sock.close()
        opened.remove(connection)
        if idle:
            free.remove(connection)

    def _begin(
        self,
        connection: _Connection,
        request: int,
        record: Record,
        now: float,
        selector: selectors.BaseSelector,
    ) -> None:
        connection.request = request
        connection.unsent = memoryview(self._requests[request % len(self._requests)])
        record.sent[request] = now
        self._send(connection, selector)

    @staticmethod
    def _send(connection: _Connection, selector: selectors.BaseSelector) -> None:
        """Send what the socket takes; wait for it to take more only where there is more."""
        before = len(connection.unsent)
        try:
            while connection.unsent:
                connection.unsent = connection.unsent[connection.sock.send(connection.unsent) :]
        except BlockingIOError:
            selector.modify(connection.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
            return
        except OSError:  # the server hung up: reading says so, too
            connection.unsent = memoryview(b"")
        if before:
            selector.modify(connection.sock, selectors.EVENT_READ, connection)

    @staticmethod
    def _receive(connection: _Connection, record: Record, begin: float) -> bool:
        """Read what is there; True when the answer is whole, or will never be."""
        received = connection.received
        try:
            part = connection.sock.recv(CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            part = b""
        if not part:
            connection.needed = 0
            return True
        received += part
        if not connection.needed:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return False
            length = _LENGTH.search(received, 0, end + 2)
            connection.needed = end + 4 + (int(length[1]) if length else 0)
        if len(received) < connection.needed:
            return False
        request, head = connection.request, bytes(received[: connection.needed])
        if request >= 0:
            record.ended[request] = time.monotonic() - begin
            record.status[request] = int(head[9:12])
            subnet, timing = _SUBNET.search(head), _TIMING.search(head)
            record.subnet[request] = subnet[1].decode() if subnet else ""
            if timing:
                record.queued[request], record.computed[request] = (
                    float(each) / 1e3 for each in timing.groups()
                )
        received.clear()
        return True
