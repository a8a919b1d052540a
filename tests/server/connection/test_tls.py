"""HTTPS, with a certificate made for the occasion."""

from __future__ import annotations

import logging
import shutil
import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx2
import pytest

from downshift.server.connection.listener import listen, url
from downshift.server.errors import BadSetting
from downshift.server.serve import run
from tests.server.doubles import tensor
from tests.server.listening import BODY, INFER, get, listening, post, read_all, status, wait_for

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


def make_certificate(folder: Path) -> Path:
    """The folder, with a new cert.pem and key.pem in it."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def tls_files(folder: Path) -> dict[str, Path]:
    return {"ssl_certfile": folder / "cert.pem", "ssl_keyfile": folder / "key.pem"}


def shown_certificate(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=120)


def ask(port: int, request: bytes) -> bytes:
    """What a TLS client is answered that sends its request with the end of its handshake."""
    context = ssl._create_unverified_context()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=120) as tcp,
        context.wrap_socket(tcp) as connection,
    ):
        connection.sendall(request)
        return read_all(connection)


def test_requests_are_answered_over_tls_only(certificate: Path) -> None:
    with listening(**tls_files(certificate)) as served:
        trusted = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
        address = f"https://127.0.0.1:{served.port}"
        with httpx2.Client(base_url=address, verify=trusted, trust_env=False, timeout=120) as client:
            assert client.post(INFER, json=tensor()).status_code == 200
        assert b"200" not in served.ask(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
    with listen("127.0.0.1", 0) as listener:
        assert url(listener, tls=True).startswith("https://127.0.0.1:")


def test_files_that_are_no_certificate_are_named(certificate: Path, tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    for files in (
        {"ssl_certfile": tmp_path / "absent.pem"},
        {"ssl_certfile": tmp_path / "junk.pem"},
        {"ssl_certfile": certificate / "cert.pem", "ssl_keyfile": tmp_path / "junk.pem"},
    ):
        with pytest.raises(BadSetting, match=r"TLS with .*\.pem"):
            run("never-read.onnx", port=0, **files)


CLOSE = "Connection: close\r\n"


def test_many_clients_at_once_are_answered_whole(certificate: Path) -> None:
    large = BODY + b" " * 300_000
    with listening(**tls_files(certificate)) as served, ThreadPoolExecutor(8) as pool:
        requests = [post(headers=CLOSE), post(large, headers=CLOSE), get("/v2", CLOSE)] * 20
        answers = list(pool.map(lambda request: ask(served.port, request), requests))
    assert {status(answer) for answer in answers} == {200}


def test_a_rotated_certificate_is_shown_without_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_certificate(tmp_path)
    with listening(**tls_files(tmp_path)) as served:
        before = shown_certificate(served.port)
        assert before == (tmp_path / "cert.pem").read_text()
        with caplog.at_level(logging.WARNING, "downshift.server"):
            (tmp_path / "cert.pem").write_text("half a certificate")
            wait_for(lambda: "TLS certificate not reloaded" in caplog.text)
        assert shown_certificate(served.port) == before
        make_certificate(tmp_path)
        wait_for(lambda: shown_certificate(served.port) != before)
        assert shown_certificate(served.port) == (tmp_path / "cert.pem").read_text()
        assert status(ask(served.port, post(headers=CLOSE))) == 200


def test_links_switched_as_kubernetes_does_it_are_a_rotation(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        make_certificate(tmp_path / name)
    (tmp_path / "..data").symlink_to("one")
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    with listening(**tls_files(tmp_path)) as served:
        assert shown_certificate(served.port) == (tmp_path / "one" / "cert.pem").read_text()
        (tmp_path / "..next").symlink_to("two")
        (tmp_path / "..next").rename(tmp_path / "..data")
        wait_for(lambda: shown_certificate(served.port) == (tmp_path / "two" / "cert.pem").read_text())


def test_connections_that_never_shake_hands_count_and_end(certificate: Path) -> None:
    with listening(**tls_files(certificate), max_connections=4, head_seconds=10) as served:
        silent = [served.connect() for _ in range(40)]
        try:
            state = served.server.server_state
            wait_for(lambda: len(state.tls_sockets) == 4)
            assert status(unless_closed(served.port)) == 0, "the limit holds for those who have not spoken"
            for each in silent:
                assert read_all(each) == b"", "closed by the server, the first after its time limit"
            wait_for(lambda: not state.tls_sockets)
            assert status(ask(served.port, get(headers=CLOSE))) == 200
        finally:
            for each in silent:
                each.close()


def unless_closed(port: int) -> bytes:
    """The answer; nothing when the connection is closed before."""
    try:
        return ask(port, get(headers=CLOSE))
    except OSError:
        return b""


def test_what_is_no_tls_ends_at_once_and_leaves_no_trace(certificate: Path) -> None:
    with listening(**tls_files(certificate), max_connections=2) as served:
        for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x02ab", bytes(600)):
            assert b"200" not in served.ask(nonsense)
        with served.connect() as gone:
            gone.sendall(b"\x16\x03\x01")
        wait_for(lambda: not served.server.server_state.tls_sockets)
        assert status(ask(served.port, get(headers=CLOSE))) == 200
