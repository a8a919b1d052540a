"""How many files of the package one V2 infer request passes through, counted on the real server.

`python -m tests.server.test_journey` prints them in the order in which they are entered.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry

import downshift
from downshift.models.artifact import write
from downshift.server.app import create_app
from downshift.server.catalog import Catalog
from downshift.server.connection.listener import listen
from downshift.server.http_server import Server
from downshift.server.repository.loading import DeploymentLoad
from downshift.server.repository.repository import Repository
from downshift.server.repository.source import Source
from downshift.server.settings import Settings
from downshift.server.telemetry.metrics import Metrics
from tests.models.tiny_artifact import tiny_artifact
from tests.server.listening import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

MOST_FILES = 30
WARM_UP, TRACED = 20, 10
PACKAGE = Path(downshift.__file__).parent


class FileTracer:
    """A profile hook for all threads: the files of the package whose functions are entered while it records.

    Methods that dataclasses generate have no file; they count as the file of their class.
    """

    def __init__(self) -> None:
        self.recording = False
        self._files: dict[str, None] = {}

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if self.recording and event == "call":
            self._files[frame.f_globals.get("__file__") or ""] = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Threads that start within are traced."""
        threading.setprofile(self)
        try:
            yield
        finally:
            threading.setprofile(None)

    def take(self) -> list[str]:
        """The files recorded since the last call, relative to the package, in the order of first entry."""
        found = [Path(name).relative_to(PACKAGE) for name in self._files if name.startswith(str(PACKAGE))]
        self._files = {}
        return list(map(str, found))


def request() -> bytes:
    """One V2 infer request in binary, with a latency budget."""
    pixels = np.ones((1, 3, 5, 5), np.float32).tobytes()
    tensor = {
        "name": "image",
        "datatype": "FP32",
        "shape": [1, 3, 5, 5],
        "parameters": {"binary_data_size": len(pixels)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return (
        (
            "POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nX-Latency-Budget-Ms: 500\r\n"
            f"Inference-Header-Content-Length: {len(head)}\r\n"
            f"Content-Length: {len(head) + len(pixels)}\r\n\r\n"
        ).encode()
        + head
        + pixels
    )


def ask(connection: socket.socket) -> bytes:
    """Send the request and read its whole response."""
    connection.sendall(request())
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [
        line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    ]
    while len(body) < int(lengths[0]):
        body += connection.recv(65536)
    assert head.startswith(b"HTTP/1.1 200"), head
    return body


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """The port of a server of the tiny artifact, put together as `downshift serve` does."""
    write(folder / "tiny.onnx", tiny_artifact())
    settings = Settings(threads=1, engines=("onnxruntime",), tune=False, cache_dir=folder)
    metrics, catalog = Metrics(CollectorRegistry()), Catalog(["tiny"])
    source = Source("tiny", folder / "tiny.onnx")
    repository = Repository(
        catalog, metrics, [source], DeploymentLoad(metrics, settings), drain_seconds=settings.drain_seconds
    )
    server = Server(create_app(catalog, metrics, settings, repository), catalog, settings)
    repository.start(lambda _fraction, _text: None)
    listener = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def trace(folder: Path) -> list[str]:
    """The files that every one of several requests passes through, one after the other on one connection.

    What a single one of them passes through is a background thread's.
    """
    tracer = FileTracer()
    with tracer.installed(), served(folder) as port, socket.create_connection(("127.0.0.1", port)) as client:
        for _ in range(WARM_UP):
            ask(client)
        journeys = []
        for _ in range(TRACED):
            tracer.recording = True
            ask(client)
            tracer.recording = False
            journeys.append(tracer.take())
    return [file for file in journeys[0] if all(file in journey for journey in journeys)]


def test_an_infer_request_passes_through_few_files(tmp_path: Path) -> None:
    files = trace(tmp_path)
    assert len(files) <= MOST_FILES, "\n".join([f"{len(files)} files:", *files])
    assert "server/v2/infer_request.py" in files
    assert "runtime/scheduling/scheduler.py" in files


if __name__ == "__main__":
    with TemporaryDirectory() as scratch:
        print(*trace(Path(scratch)), sep="\n")
