"""Clients that mean no good, or know no better, over raw sockets: each is refused, and the server goes on."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from downshift.server.connection.protocol import PIPELINED
from tests.server.doubles import ScriptedBackend
from tests.server.listening import BODY, Listening, get, listening, post, read_all, status, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSE = "Connection: close\r\n"


@pytest.fixture(scope="module")
def served() -> Iterator[Listening]:
    """A patient server: nothing here may have to wait for its time limits."""
    with listening(max_head_bytes=4096) as server:
        yield server


@pytest.fixture(scope="module")
def hasty() -> Iterator[Listening]:
    """A server whose time limits pass soon, but not before a client that behaves has got a busy core."""
    with listening(head_seconds=2.0, body_seconds=2.0, keep_alive_seconds=2.0) as server:
        yield server


def assert_alive(connection: socket.socket) -> None:
    """An answer may come in pieces, so it is read to its end."""
    connection.sendall(get())
    answer = b""
    while not answer.endswith(b'{"live":true}'):
        piece = connection.recv(65536)
        assert piece, f"closed after {answer!r}"
        answer += piece
    assert answer.startswith(b"HTTP/1.1 200")


def error(answer: bytes) -> str:
    """The sentence of the first response's body."""
    text: str = orjson.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    return text


NOT_HTTP = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)),
    "no request line": b"\r\n\r\nhello\r\n\r\n",
    "unknown method": b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "header without colon": b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
    "null byte in a header": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "negative length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nhello",
    "length with a plus": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
    "length in words": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\nhello",
    "length too long for any integer": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: "
    + b"9" * 40
    + b"\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length and chunks": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "unknown transfer encoding": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: rot13\r\n\r\nuryyb",
}


@pytest.mark.parametrize("request_", NOT_HTTP.values(), ids=NOT_HTTP.keys())
def test_what_is_not_http_is_answered_with_400_and_closed(served: Listening, request_: bytes) -> None:
    answer = served.ask(request_)
    assert status(answer) == 400
    assert "HTTP/1.1" in error(answer)
    assert served.usable()


CHUNKS = {
    "size that is no number": b"zz\r\nhello\r\n0\r\n\r\n",
    "negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "size larger than any integer": b"f" * 40 + b"\r\nhello\r\n",
    "data longer than its size": b"3\r\nhello\r\n0\r\n\r\n",
    "no line end": b"5hello0",
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())
def test_nonsense_in_chunks_is_refused(served: Listening, chunks: bytes) -> None:
    head = f"POST /v2/models/pets/infer HTTP/1.1\r\nHost: x\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n"
    before = len(served.backend.requests)
    assert status(served.ask(head.encode() + chunks)) == 400
    assert status(served.ask(head.encode(), chunks)) == 400
    assert len(served.backend.requests) == before
    assert served.usable()


def test_a_body_in_chunks_is_read(served: Listening) -> None:
    head = f"POST /v2/models/pets/infer HTTP/1.1\r\nHost: x\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    assert status(served.ask(head.encode(), chunks)) == 200


@pytest.mark.parametrize("cut", [1, 20, 60, len(post()) - 1])
def test_a_request_that_ends_early_is_never_executed(served: Listening, cut: int) -> None:
    before = len(served.backend.requests)
    with served.connect() as connection:
        connection.sendall(post()[:cut])
        connection.shutdown(socket.SHUT_WR)
    assert served.usable()
    assert len(served.backend.requests) == before + 1


def test_a_length_larger_than_the_body_waits_and_a_smaller_one_cuts(served: Listening) -> None:
    short = served.ask(post(length=len(BODY) - 1))
    assert status(short) == 400
    assert "JSON" in short.decode()


@pytest.mark.parametrize(
    "head",
    [
        f"GET / HTTP/1.1\r\nHost: x\r\nX: {'a' * 5000}\r\n\r\n",
        f"GET /{'a' * 5000} HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n" + "".join(f"X-{n}: y\r\n" for n in range(1000)) + "\r\n",
        "GET / HTTP/1.1\r\n" + "a" * 5000,
    ],
    ids=["a long header", "a long path", "many headers", "a header that never ends"],
)
def test_a_head_beyond_the_limit_is_refused(served: Listening, head: str) -> None:
    raw = head.encode()
    for pieces in ((raw,), (raw[:100], raw[100:2000], raw[2000:])):
        answer = served.ask(*pieces)
        assert status(answer) == 431
        assert "4096 bytes" in error(answer)
    assert served.usable()


def test_pipelined_requests_are_answered_in_their_order(served: Listening) -> None:
    paths = ["/v2/health/live", "/v2/models/pets", "/nowhere", "/v2"]
    answer = served.ask(b"".join(map(get, paths[:-1])) + get(paths[-1], CLOSE))
    codes = [int(part.split(b" ")[0]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert codes == [200, 200, 404, 200]


def test_what_comes_before_nonsense_is_answered_whole() -> None:
    backend = ScriptedBackend(keep=True)
    with listening(backend) as server, server.connect() as connection:
        connection.sendall(post())
        wait_for(lambda: backend.waiting)
        connection.sendall(b"\x00nonsense\r\n\r\n")
        backend.keep = False
        assert status(server.ask(get(headers=CLOSE))) == 200, "the nonsense has been read by now"
        backend.waiting[0].set_result(backend.submit(backend.requests[0]).result())
        answer = read_all(connection)
    assert status(answer) == 200
    assert answer.count(b"HTTP/1.1 ") == 1


def test_too_many_pipelined_requests_are_refused_after_those_that_fit(served: Listening) -> None:
    answer = served.ask(get() * (PIPELINED + 50))
    codes = [int(part.split(b" ")[0]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert codes == [200] * (PIPELINED + 1)
    assert served.usable()


def test_an_answer_whose_client_goes_ends_quietly_even_when_other_requests_wait_behind_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with listening(max_streams=1) as server:
        logging.getLogger("uvicorn").addHandler(caplog.handler)
        with server.connect() as connection:
            connection.sendall(get("/events"))
            assert b" 200 " in connection.recv(65536)
            connection.sendall(get())
            assert status(server.ask(get("/events", CLOSE))) == 429
        wait_for(lambda: _watches(server))
        logging.getLogger("uvicorn").removeHandler(caplog.handler)
    assert not caplog.records


def _watches(server: Listening) -> bool:
    with server.connect() as connection:
        connection.sendall(get("/events"))
        return b" 200 " in connection.recv(65536)


def test_a_head_that_does_not_arrive_is_given_up(hasty: Listening) -> None:
    answer = hasty.ask(b"GET / HTTP/1.1\r\nHos")
    assert status(answer) == 408
    assert "head did not arrive" in error(answer)
    assert hasty.ask(b"") == b""


def test_a_body_that_does_not_arrive_is_given_up(hasty: Listening) -> None:
    before = len(hasty.backend.requests)
    answer = hasty.ask(post(length=len(BODY) + 9))
    assert status(answer) == 408
    assert "body did not arrive" in error(answer)
    assert status(hasty.ask(get(headers="Content-Length: 9\r\n"))) == 200, "closed without reading the body"
    assert len(hasty.backend.requests) == before


def test_a_client_that_sends_byte_by_byte_is_given_up(hasty: Listening) -> None:
    with hasty.connect() as connection:
        stop = threading.Event()

        def dribble() -> None:
            try:
                for byte in post():
                    connection.sendall(bytes([byte]))
                    if stop.wait(0.02):
                        return
            except OSError:
                return

        sending = threading.Thread(target=dribble)
        sending.start()
        assert status(read_all(connection)) in (0, 408)  # 0: its next byte reset the connection
        stop.set()
        sending.join()
    assert hasty.usable()


def test_a_connection_may_be_idle_between_requests_for_a_while(hasty: Listening) -> None:
    answer = hasty.ask(get(), get())
    assert answer.count(b"HTTP/1.1 200") == 2


def test_a_request_that_is_executed_is_not_hurried() -> None:
    backend = ScriptedBackend(keep=True)
    with listening(backend, head_seconds=1.0, body_seconds=1.0) as server, server.connect() as connection:
        connection.sendall(post())
        wait_for(lambda: backend.waiting)
        connection.sendall(post()[:50])  # the next one, which will be late
        threading.Event().wait(1.5)  # longer than both limits
        backend.keep = False
        backend.waiting[0].set_result(backend.submit(backend.requests[0]).result())
        answer = read_all(connection)
    assert status(answer) == 200


def test_connections_beyond_the_limit_are_told_so() -> None:
    with listening(max_connections=5) as server:
        kept = [server.connect() for _ in range(5)]
        try:
            for connection in kept:
                assert_alive(connection)
            for _ in range(50):
                refused = server.ask()
                assert status(refused) == 503
                assert b"retry-after: 1" in refused
                assert "which is the limit" in error(refused)
            assert_alive(kept[0])
        finally:
            for connection in kept:
                connection.close()
        wait_for(server.usable)


def test_a_flood_of_connections_leaves_no_trace() -> None:
    with listening(max_connections=20, head_seconds=2.0) as server:
        flood = [server.connect() for _ in range(200)]
        for number, connection in enumerate(flood):
            with suppress(OSError):
                connection.sendall(post()[: number % 60])
        wait_for(lambda: not server.server.server_state.connections)
        for connection in flood:
            connection.close()
        assert server.usable()
        assert len(server.backend.requests) == 1


def test_every_waiting_request_of_those_who_hang_up_is_cancelled() -> None:
    backend = ScriptedBackend(keep=True)
    with listening(backend) as server:
        waiting = [server.connect() for _ in range(50)]
        for connection in waiting:
            connection.sendall(post())
        wait_for(lambda: len(backend.waiting) == 50)
        for connection in waiting:
            connection.close()
        wait_for(lambda: all(future.cancelled() for future in backend.waiting))
        assert len(backend.requests) == 50


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_mutilated_request_is_answered_twice_or_with_500(served: Listening, data: st.DataObject) -> None:
    whole = post(headers=CLOSE)
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, min(len(whole), begin + 40)))
    piece = data.draw(st.binary(max_size=40) | st.sampled_from([b"\r\n", b"\0", b"0\r\n\r\n", b" ", b":"]))
    with served.connect() as connection:
        connection.sendall(whole[:begin] + piece + whole[end:])
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert status(answer) < 500
    assert answer.count(b"HTTP/1.1 ") <= 2  # what is left behind a shorter request may be one of its own


def test_a_body_that_says_it_is_enormous_is_too_large_and_not_read(served: Listening) -> None:
    answer = served.ask(post(length=2**62, headers=CLOSE))
    assert status(answer) == 413
    assert "longer than" in error(answer)
