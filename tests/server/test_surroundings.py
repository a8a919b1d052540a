"""Surroundings that other servers end in: odd file names, odd environments, no home, nowhere to write."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx2
import pytest

from downshift.models.artifact import write
from tests.models.tiny_artifact import tiny_artifact
from tests.server.listening import wait_for
from tests.server.process import ServerProcess
from tests.server.test_faults import served

if TYPE_CHECKING:
    from pathlib import Path

PATHS = ("/metrics", "/v2/models", "/v2/health/ready", "/subnets", "/v2/models/stats")


def test_a_model_whose_file_has_an_odd_name_costs_the_others_nothing(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    write(models / "tiny.onnx", tiny_artifact())
    for name in (b"caf\xe9.onnx", b"two\nlines.onnx"):
        (models / os.fsdecode(name)).write_bytes((models / "tiny.onnx").read_bytes())
    environment = {"DOWNSHIFT_REPOSITORY": str(models), "DOWNSHIFT_THREADS": "1", "DOWNSHIFT_LOG_JSON": "1"}
    with (
        ServerProcess(models / "tiny.onnx", environment) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=120) as client,
    ):
        assert [client.get(path).status_code for path in PATHS] == [200] * len(PATHS)
        index = {each["name"]: each for each in client.post("/v2/repository/index").json()}
        assert index["tiny"]["state"] == "READY"
        assert index["caf\\udce9"] == {
            "name": "caf\\udce9",
            "version": "",
            "state": "UNAVAILABLE",
            "reason": "the file's name is not UTF-8: rename it",
        }
        assert set(index) == {"tiny", "caf\\udce9", "two\\nlines"}
        assert server.stop().count("is not offered") == 2


def test_variables_meant_for_other_programs_are_no_concern_of_ours(tmp_path: Path) -> None:
    odd = {
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "nowhere"),
        "WEB_CONCURRENCY": "auto",
        "SSLKEYLOGFILE": "/nowhere/at/all",
        "DOWNSHIFT_SERVICE_HOST": "10.0.0.1",
        "DOWNSHIFT_METRICS_PORT": "tcp://10.0.0.1:9000",
    }
    with served(tmp_path, **odd) as (_, client):
        assert [client.get(path).status_code for path in PATHS] == [200] * len(PATHS)


REDIRECTIONS = {
    "all on a full disk": ">/dev/full 2>/dev/full",
    "all closed": "<&- >&- 2>&-",
    "output closed": ">&-",
}


@pytest.mark.parametrize("redirection", REDIRECTIONS.values(), ids=REDIRECTIONS.keys())
@pytest.mark.parametrize("target", ["/dev/full", "-"])
def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path, redirection: str, target: str) -> None:
    write(tmp_path / "tiny.onnx", tiny_artifact())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "downshift", "serve", "tiny.onnx", "--port", port, "--log-json"]
    command += ["--threads", "1", "--access-log", target, "--no-tune"]
    environment = os.environ | {"DOWNSHIFT_CACHE_DIR": str(tmp_path / "cache")}
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command]
    with (
        subprocess.Popen(shell, cwd=tmp_path, env=environment) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120) as client,
    ):
        try:
            wait_for(lambda: process.poll() is not None or ready(client))
            assert process.poll() is None
            assert [client.get(path).status_code for path in PATHS] == [200] * len(PATHS)
            assert client.post("/v2/models/tiny/infer", content=b"{").status_code == 400
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


def ready(client: httpx2.Client) -> bool:
    """Whether the server answers, and its models too."""
    try:
        return client.get("/v2/health/ready").status_code == 200
    except httpx2.TransportError:
        return False


NOBODY = """
import os, pwd
os.environ.pop("HOME", None)
def getpwuid(uid):
    raise KeyError(uid)
pwd.getpwuid = getpwuid
"""


def test_without_a_home_folder_the_server_goes_on(tmp_path: Path) -> None:
    """As under a user id that the container's image does not know."""
    write(tmp_path / "tiny.onnx", tiny_artifact())
    environment = {"DOWNSHIFT_CACHE_DIR": "", "XDG_CACHE_HOME": "", "DOWNSHIFT_THREADS": "1"}
    with (
        ServerProcess(tmp_path / "tiny.onnx", environment, NOBODY) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=120) as client,
    ):
        assert [client.get(path).status_code for path in PATHS] == [200] * len(PATHS)
        server.stop()
        assert server.process.returncode == 0
