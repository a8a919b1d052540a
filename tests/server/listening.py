"""A real server on loopback, in a thread of its own, around a scripted backend."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
from prometheus_client import CollectorRegistry

from downshift.server.app import create_app
from downshift.server.catalog import Catalog
from downshift.server.connection.listener import listen
from downshift.server.http_server import Server
from downshift.server.settings import Settings
from downshift.server.telemetry.metrics import Metrics
from tests.server.doubles import ENGINE, MODEL, ScriptedBackend, tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INFER = f"/v2/models/{MODEL}/infer"
BODY = httpx2.Request("POST", "http://x", json=tensor()).content


def post(body: bytes = BODY, path: str = INFER, *, headers: str = "", length: int | None = None) -> bytes:
    """A whole request; `length` is declared instead of the body's."""
    declared = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {declared}\r\n{headers}\r\n".encode() + body


def get(path: str = "/v2/health/live", headers: str = "") -> bytes:
    """A whole request."""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()


def wait_for(condition: Callable[[], object]) -> None:
    """Return when the condition holds."""
    give_up = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < give_up, "the condition never came true"
        time.sleep(0.005)


@dataclass
class Listening:
    """The server, its thread, and its address."""

    server: Server
    thread: threading.Thread
    backend: ScriptedBackend
    metrics: Metrics
    port: int

    def connect(self) -> socket.socket:
        """A new connection, on which nothing waits longer than two minutes."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)

    def ask(self, *pieces: bytes) -> bytes:
        """Everything the server sends for these pieces until it closes the connection."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            return read_all(connection)

    def usable(self) -> bool:
        """A client that behaves is answered."""
        answer = self.ask(post(headers="Connection: close\r\n"))
        return status(answer) == 200


def read_all(connection: socket.socket) -> bytes:
    """What arrives until the server closes, in whatever way."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def status(answer: bytes) -> int:
    """The status of the first response."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


@contextmanager
def listening(backend: ScriptedBackend | None = None, **settings: Any) -> Iterator[Listening]:
    """Serve `backend` as model `pets`."""
    backend = backend or ScriptedBackend()
    catalog, chosen = Catalog([MODEL]), Settings(**({"drain_seconds": 20} | settings))
    metrics = Metrics(CollectorRegistry())
    metrics.announce(MODEL, backend.manifest, [ENGINE])
    catalog.publish(MODEL, backend)
    server = Server(create_app(catalog, metrics, chosen), catalog, chosen)
    listener = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield Listening(server, thread, backend, metrics, listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
