"""The open loop against small real servers on loopback."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.harness.client import Client
from benchmarks.harness.errors import WrongAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

BODY = b"x" * 300_000  # more than a socket takes at once
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
ANSWER = (
    b"HTTP/1.1 200 OK\r\nX-Subnet: s90\r\nServer-Timing: queue;dur=1.0, infer;dur=2.5, total;dur=4.0\r\n"
    b"content-length: 5\r\n\r\nhello"
)


class Hello:
    """Sends the large request; the one right answer is hello."""

    def request(self, image: NDArray[np.float32]) -> bytes:
        return REQUEST

    def logits(self, head: bytes, body: bytes) -> bytes:
        return np.float32(body == b"hello").tobytes()


RIGHT = np.ones((1, 1), np.float32)
CLIENT = Client(Hello(), np.zeros((1, 3, 2, 2), np.float32), {"s90": RIGHT})


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that gives every connection to `serve`, on a thread of its own, until the listener closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join()


def whole_request(connection: socket.socket) -> bool:
    """Read one request; False when the client has closed instead."""
    left = len(REQUEST)
    while left:
        part = connection.recv(min(left, 65536))
        if not part:
            return False
        left -= len(part)
    return True


def test_every_request_is_sent_whole_and_its_answer_is_recorded() -> None:
    def serve(connection: socket.socket) -> None:
        with connection:
            while whole_request(connection):
                connection.sendall(ANSWER[:20])
                connection.sendall(ANSWER[20:])

    with listening(serve) as port:
        record = CLIENT.open_loop(port, np.array([0.0, 0.0, 0.0, 0.01]), connections=2)
    assert record.status.tolist() == [200] * 4
    assert record.subnet.tolist() == ["s90"] * 4
    assert record.queued.tolist() == [0.001] * 4
    assert record.computed.tolist() == [0.0025] * 4
    assert record.inside.tolist() == [0.004] * 4
    assert (record.due <= record.sent).all()
    assert (record.sent <= record.ended).all()
    assert record.in_time(np.inf).all()
    assert not record.in_time(0.0).any()


def test_latency_counts_from_when_a_request_was_due_even_if_no_connection_was_free() -> None:
    work = 0.2  # seconds

    def serve(connection: socket.socket) -> None:
        with connection:
            whole_request(connection)
            time.sleep(work)
            connection.sendall(ANSWER)
            whole_request(connection)
            connection.sendall(ANSWER)

    with listening(serve) as port:
        record = CLIENT.open_loop(port, np.array([0.0, 0.0]), connections=1)
    assert record.sent[1] >= record.ended[0]
    assert record.ended[1] >= record.ended[0] > record.sent[0]
    assert record.sent[1] - record.due[1] >= work, "the wait for the connection counts"


def test_a_refusal_is_no_answer_in_time() -> None:
    def serve(connection: socket.socket) -> None:
        with connection:
            while whole_request(connection):
                connection.sendall(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n")

    with listening(serve) as port:
        record = CLIENT.open_loop(port, np.array([0.0]))
    assert record.status.tolist() == [429]
    assert record.subnet.tolist() == [""]
    assert not record.in_time(9.0).any()


def test_a_server_that_hangs_up_leaves_a_request_unanswered_and_harms_no_other() -> None:
    first = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            if whole_request(connection) and first.is_set():
                connection.sendall(ANSWER)
                whole_request(connection)
            first.set()

    with listening(serve) as port:
        record = CLIENT.open_loop(port, np.array([0.0, 0.0]), connections=1)
    assert record.status.tolist() == [0, 200]
    assert record.ended[0] == np.inf


def test_what_is_never_answered_is_waited_for_until_grace_ends() -> None:
    done = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            done.wait(60)

    with listening(serve) as port:
        record = CLIENT.open_loop(port, np.array([0.0]), grace=0.1)
        done.set()
    assert record.status.tolist() == [0]


def test_a_wrong_answer_ends_the_run() -> None:
    def serve(connection: socket.socket) -> None:
        with connection:
            whole_request(connection)
            connection.sendall(ANSWER.replace(b"hello", b"Hello"))

    with listening(serve) as port, pytest.raises(WrongAnswer, match="sub-net s90: wrong by 1 of"):
        CLIENT.open_loop(port, np.array([0.0]))


def test_the_next_answer_on_a_connection_begins_where_the_last_one_ended() -> None:
    odd = ANSWER.replace(b"X-Subnet", b"inference-header-content-length: 2\r\nX-Subnet")
    refusal = (
        b"HTTP/1.1 429 Too Many Requests\r\nserver-timing: total;dur=1.250\r\ncontent-length: 2\r\n\r\n{}"
    )

    def serve(connection: socket.socket) -> None:
        with connection:
            for answer in (odd, refusal, odd, refusal):
                whole_request(connection)
                connection.sendall(answer)

    with listening(serve) as port:
        record = CLIENT.open_loop(port, np.array([0.0, 0.0, 0.0, 0.0]), connections=1)
    assert record.status.tolist() == [200, 429, 200, 429]
    assert record.inside[[1, 3]].tolist() == [0.00125] * 2


def test_a_connection_that_the_server_closes_after_an_answer_is_not_used_again() -> None:
    def serve(connection: socket.socket) -> None:
        with connection:
            if whole_request(connection):
                connection.sendall(ANSWER.replace(b"X-Subnet", b"Connection: close\r\nX-Subnet"))

    with listening(serve) as port:
        record = CLIENT.open_loop(port, np.array([0.0, 0.0, 0.0]), connections=1)
    assert record.status.tolist() == [200] * 3
