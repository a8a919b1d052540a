"""HTTPS, with a certificate made for the occasion."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING

import httpx2
import pytest

from downshift.server.errors import BadSetting
from downshift.server.serve import listen, run, url
from tests.server.doubles import tensor
from tests.server.listening import INFER, listening

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_requests_are_answered_over_tls_only(certificate: Path) -> None:
    files = {"ssl_certfile": certificate / "cert.pem", "ssl_keyfile": certificate / "key.pem"}
    with listening(**files) as served:
        trusted = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
        address = f"https://127.0.0.1:{served.port}"
        with httpx2.Client(base_url=address, verify=trusted, trust_env=False) as client:
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
