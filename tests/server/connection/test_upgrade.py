"""An offer to upgrade is ignored: one request, one answer, and its body is never taken for a request."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from downshift.server.connection.upgrade import head_without_upgrade
from tests.server.listening import BODY, INFER, Listening, get, listening, post, read_all, status, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSE = "Connection: close\r\n"
SMUGGLED = b"GET /v2/models HTTP/1.1\r\nHost: smuggled\r\n\r\n"
JDK = Path(__file__).parents[1] / "clients" / "scripts" / "JdkPost.java"


@pytest.fixture(scope="module")
def served() -> Iterator[Listening]:
    with listening() as server:
        yield server


def offer(token: str) -> str:
    """Headers that offer that protocol, and ask for the connection to be closed."""
    return f"Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: {token}\r\nHTTP2-Settings: AAMAAABk\r\n"


TOKENS = ["h2c", "H2C", "websocket", "TLS/1.2", "IRC/6.9, RTA/x11", "anything"]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("cut", [0, 1, -5])
def test_a_body_is_read_whatever_is_offered_and_however_it_is_cut(
    served: Listening, token: str, cut: int
) -> None:
    whole = post(headers=offer(token))
    head = len(whole) - len(BODY)
    at = head + cut
    for pieces in ((whole,), (whole[:at], whole[at:])):
        with served.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            answer = read_all(connection)
        assert status(answer) == 200, answer
        assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("path", [INFER, "/predict", "/v2/repository/index", "/nowhere"])
def test_a_body_in_a_second_segment_is_no_request_of_its_own(
    served: Listening, token: str, path: str
) -> None:
    whole = post(SMUGGLED, path, headers=offer(token))
    with served.connect() as connection:
        connection.sendall(whole[: -len(SMUGGLED)])
        before = status(served.ask(get(headers=CLOSE)))  # by now the head has been read
        connection.sendall(whole[-len(SMUGGLED) :])
        answer = read_all(connection)
    assert before == 200
    assert answer.count(b"HTTP/1.1 ") == 1
    assert status(answer) in (400, 404, 415)
    assert b'"models"' not in answer


def test_chunks_after_an_offer_are_read(served: Listening) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\n{offer('h2c')}Transfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    assert status(served.ask(head.encode(), chunks)) == 200
    assert status(served.ask(head.encode() + chunks)) == 200


def test_an_offer_without_a_body_is_answered_and_the_connection_goes_on(served: Listening) -> None:
    offered = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    answer = served.ask(get(headers=offered) * 3 + post(headers=offered) + get(headers=CLOSE))
    assert answer.count(b"HTTP/1.1 200") == 5


def test_many_pipelined_offers_are_answered_within_the_limit(served: Listening) -> None:
    answer = served.ask(get(headers="Connection: Upgrade\r\nUpgrade: h2c\r\n") * 3000)
    assert 1 < answer.count(b"HTTP/1.1 200") < 50
    assert served.usable()


def test_a_budget_runs_from_the_first_byte_of_a_head_that_offers_something() -> None:
    with listening() as server, server.connect() as connection:
        whole = post(headers=offer("h2c"))
        connection.sendall(whole[:9])
        wait_for(lambda: server.server.server_state.connections)
        for protocol in tuple(server.server.server_state.connections):
            wait_for(lambda protocol=protocol: protocol.scope is not None)
            protocol.scope["downshift.arrival"] -= 50.0
        connection.sendall(whole[9:])
        answer = read_all(connection)
    total = float(answer.split(b"total;dur=")[1].split(b"\r\n")[0])
    assert total > 50_000


def test_who_speaks_http2_without_asking_is_told_so(served: Listening) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
    for pieces in ((preface,), (preface[:20], preface[20:])):
        answer = served.ask(*pieces)
        assert status(answer) == 505
        assert b"HTTP/1.1 and not HTTP/2" in answer
    assert served.usable()


def test_a_tunnel_is_refused(served: Listening) -> None:
    answer = served.ask(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n" + SMUGGLED)
    assert status(answer) == 405
    assert answer.count(b"HTTP/1.1 ") == 1


def test_only_the_offer_is_taken_out_of_a_head() -> None:
    headers = [(b"host", b"x"), (b"upgrade", b"h2c"), (b"connection", b"Upgrade"), (b"x", b"")]
    assert head_without_upgrade(b"PUT", b"/a?b", b"1.0", headers) == (
        b"PUT /a?b HTTP/1.0\r\nhost: x\r\nconnection: Upgrade\r\nx: \r\n\r\n"
    )


@pytest.mark.skipif(shutil.which("java") is None, reason="no JDK here")
def test_a_stock_jdk_client_is_answered(served: Listening) -> None:
    command = ["java", "-Xshare:auto", str(JDK), f"http://127.0.0.1:{served.port}{INFER}", BODY.decode()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if "jdk.compiler" in ran.stderr:
        pytest.skip("java is here without its compiler")
    assert ran.returncode == 0, ran.stderr
    assert [line.split(" ")[0] for line in ran.stdout.splitlines()] == ["200"] * 3


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_curl_that_prefers_http2_is_answered(served: Listening, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(BODY)
    command = ["curl", "--http2", "--silent", "--show-error", "--noproxy", "*", "--max-time", "60"]
    command += ["--data-binary", f"@{tmp_path / 'body'}", f"http://127.0.0.1:{served.port}{INFER}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if "the installed libcurl version does not support" in ran.stderr:
        pytest.skip("this curl has no HTTP/2")
    assert '"outputs"' in ran.stdout, ran.stderr
