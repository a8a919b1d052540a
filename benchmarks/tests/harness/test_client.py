"""The closed loop: every answer is checked, whatever it arrives as, and refusals are counted apart."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest

from benchmarks.harness.client import Client
from benchmarks.harness.errors import WrongAnswer
from benchmarks.harness.wire import NestedJson, RawBytes, V2Binary, V2Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from benchmarks.harness.wire import Wire

IMAGES = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2)


def logits(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return image.reshape(len(image), -1)[:, :3] + 1


class Handler(BaseHTTPRequestHandler):
    """Answers in whatever form it is asked in; the server says what is wrong with it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        assert isinstance(server, Model)
        server.served += 1
        status = server.statuses.pop() if server.statuses else 200
        answer, headers = self.answer(body, server.error)
        self.send_response(status)
        for name, value in (headers | server.headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        half = len(answer) // 2
        self.wfile.write(answer[:half])
        self.wfile.write(answer[half:])

    def answer(self, body: bytes, error: float) -> tuple[bytes, dict[str, str]]:
        size = self.headers.get("Inference-Header-Content-Length")
        if size is not None:
            head = b'{"outputs":[]}'
            right = logits(np.frombuffer(body[int(size) :], "<f4").reshape(1, 3, 2, 2)) + error
            return head + right.astype("<f4").tobytes(), {"inference-header-content-length": str(len(head))}
        if self.headers["Content-Type"] == "application/octet-stream":
            return (logits(np.frombuffer(body, "<f4").reshape(1, 3, 2, 2)) + np.float32(error)).tobytes(), {}
        request = orjson.loads(body)
        if "inputs" in request:
            tensor = request["inputs"][0]
            right = logits(np.array(tensor["data"], np.float32).reshape(tensor["shape"])) + error
            return orjson.dumps({"outputs": [{"data": right.ravel().tolist()}]}), {}
        return orjson.dumps((logits(np.array(request["images"], np.float32)) + error).tolist()), {}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's
        pass


class Model(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.error = 0.0
        self.served = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up at the first wrong answer."""


@pytest.fixture
def model() -> Iterator[Model]:
    with Model() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def client(wire: Wire | None = None, **subnets: NDArray[np.float32]) -> Client:
    return Client(wire or RawBytes(), IMAGES, {"": logits(IMAGES), **subnets})


@pytest.mark.parametrize("wire", [RawBytes(), V2Binary("m"), V2Json("m"), NestedJson()])
def test_right_answers_are_timed_on_every_wire(model: Model, wire: Wire) -> None:
    load = client(wire).closed_loop(model.server_port, 3, 0.05)
    assert len(load.latencies) == model.served >= 3
    assert load.throughput == len(load.latencies) / load.seconds
    assert 0 < load.quantile(0.5) <= load.quantile(1.0) < load.seconds
    assert load.size > 0


def test_a_run_without_time_asks_once_on_each_connection(model: Model) -> None:
    assert len(client().closed_loop(model.server_port, 2, 0.0).latencies) == model.served == 2


@pytest.mark.parametrize("wire", [RawBytes(), V2Binary("m"), V2Json("m"), NestedJson()])
def test_a_wrong_logit_ends_the_run(model: Model, wire: Wire) -> None:
    model.error = 0.5
    with pytest.raises(WrongAnswer, match="wrong by"):
        client(wire).closed_loop(model.server_port, 1, 1.0)


def test_an_answer_is_held_against_the_sub_net_that_is_named(model: Model) -> None:
    model.headers["X-Subnet"] = "s90"
    with pytest.raises(WrongAnswer, match="sub-net s90: wrong by"):
        client(s90=logits(IMAGES) * 2).closed_loop(model.server_port, 1, 1.0)
    assert client(s90=logits(IMAGES)).closed_loop(model.server_port, 1, 0.0).subnets == {"s90": 1}


def test_refusals_are_counted_and_not_timed(model: Model) -> None:
    model.statuses = [504, 429]
    load = client().closed_loop(model.server_port, 2, 0.0)
    assert load.refused == {429: 1, 504: 1}
    assert not load.latencies


def test_a_server_that_hangs_up_is_wrong(model: Model) -> None:
    model.headers["Connection"] = "close"
    with pytest.raises(WrongAnswer, match="hung up"):
        client().closed_loop(model.server_port, 1, 1.0)
