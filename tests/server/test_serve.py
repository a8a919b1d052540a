"""The real server on loopback: first in this process with a scripted model, then as its own process."""

from __future__ import annotations

import json
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import numpy as np
import onnxruntime
import pytest
from prometheus_client import CollectorRegistry

from downshift.models.artifact import write
from downshift.models.materialize import materialize
from downshift.server.catalog import Catalog
from downshift.server.connection.listener import Ports, listen, listen_beside, reserve, url
from downshift.server.connection.probe import expose
from downshift.server.errors import BadSetting
from downshift.server.serve import (
    SWITCH_SECONDS,
    Loader,
    run,
    sample_picture,
    sinks,
)
from downshift.server.settings import Settings
from downshift.server.telemetry.metrics import Metrics
from tests.models.images.pictures import encoded, noise, picture
from tests.models.tiny_artifact import tiny_artifact
from tests.server.doubles import MODEL, ScriptedBackend, tensor
from tests.server.listening import INFER, Listening, listening, post, wait_for
from tests.server.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

BUDGET = 30.0
PATIENCE = 120.0  # seconds: a generous bound for what takes moments


def client_of(served: Listening) -> httpx2.Client:
    return httpx2.Client(base_url=f"http://127.0.0.1:{served.port}", trust_env=False, timeout=PATIENCE)


def test_the_budget_runs_from_the_first_byte_of_the_request() -> None:
    body = httpx2.Request("POST", "http://x", json=tensor()).content
    head = (
        f"POST {INFER} HTTP/1.1\r\nHost: x\r\nX-Latency-Budget-Ms: {BUDGET * 1e3}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    backend = ScriptedBackend()
    with listening(backend) as served, served.connect() as connection:
        connection.sendall(head[:9].encode())
        wait_for(lambda: any(each.scope for each in served.server.server_state.connections))
        first_byte_is_there = time.monotonic()
        connection.sendall(head[9:].encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    [request] = backend.requests
    assert request.deadline is not None
    assert request.deadline - BUDGET <= first_byte_is_there


@pytest.mark.parametrize("spaces", [0, 200_000])  # more than uvicorn reads ahead
def test_the_request_of_a_client_that_hangs_up_is_cancelled(spaces: int) -> None:
    backend = ScriptedBackend(keep=True)
    body = httpx2.Request("POST", "http://x", json=tensor()).content + b" " * spaces
    with listening(backend) as served:
        with served.connect() as connection:
            connection.sendall(
                f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            wait_for(lambda: backend.waiting)
        wait_for(backend.waiting[0].cancelled)


def test_a_signal_lets_what_waits_finish_and_refuses_the_rest() -> None:
    backend = ScriptedBackend(keep=True)
    answered: list[httpx2.Response] = []
    with listening(backend, drain_seconds=20) as served, client_of(served) as client:
        asking = threading.Thread(target=lambda: answered.append(client.post(INFER, json=tensor())))
        asking.start()
        wait_for(lambda: backend.waiting)
        served.server.handle_exit(signal.SIGTERM, None)
        refused = client.post(INFER, json=tensor())
        ready, live = client.get("/v2/health/ready"), client.get("/v2/health/live")
        assert served.thread.is_alive()
        backend.keep = False
        backend.waiting[0].set_result(backend.submit(backend.requests[0]).result())
        asking.join()
        served.thread.join()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert (ready.status_code, live.status_code) == (503, 200)
    assert answered[0].status_code == 200
    assert backend.closed == 20


def test_a_second_signal_ends_it_at_once() -> None:
    backend = ScriptedBackend(keep=True)
    with listening(backend, drain_seconds=10 * PATIENCE) as served, served.connect() as connection:
        connection.sendall(post())
        wait_for(lambda: backend.waiting)
        served.server.handle_exit(signal.SIGTERM, None)
        served.server.handle_exit(signal.SIGTERM, None)
        served.thread.join(PATIENCE)
        assert not served.thread.is_alive()


def test_a_model_that_cannot_be_loaded_stops_the_server() -> None:
    def fail() -> None:
        raise ValueError("no such artifact")

    with listening() as served:
        loader = Loader([fail], served.server)
        loader.run()
        served.thread.join()
    assert isinstance(loader.error, ValueError)


def test_a_port_in_use_is_named() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSetting, match=rf"cannot listen on '127.0.0.1', port {port} .*choose another"):
            listen("127.0.0.1", port)
        with pytest.raises(BadSetting):
            run("never-read.onnx", port=port)


@pytest.mark.parametrize("host", ["nowhere.invalid", "", "203.0.113.7", "a..b", "x" * 80])
def test_an_address_that_is_not_this_machines_is_named(host: str) -> None:
    with pytest.raises(BadSetting, match=rf"cannot listen on '{host}', .* give --host an address of this"):
        listen(host, 0)


def test_settings_that_contradict_each_other_or_the_disk_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"--ssl-keyfile key\.pem has no certificate: name it with"):
        run("never-read.onnx", port=0, ssl_keyfile=Path("key.pem"))
    with pytest.raises(BadSetting, match=r"--repository .*/nowhere is no folder: create it"):
        run("never-read.onnx", port=0, repository=tmp_path / "nowhere")


def test_a_server_without_a_model_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="no model to serve: name a file"):
        run()
    with pytest.raises(BadSetting, match=f"put one into {tmp_path}"):
        run(repository=tmp_path)


def test_in_a_server_threads_take_turns_sooner_than_usual() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    try:
        with pytest.raises(BadSetting):
            run()
        assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    finally:
        sys.setswitchinterval(before)


def test_a_port_that_is_kept_for_several_processes_is_taken_for_everybody_else() -> None:
    with reserve("127.0.0.1", 0, "--grpc-port") as kept:
        port = kept.getsockname()[1]
        for take in (listen, reserve):
            with pytest.raises(BadSetting, match=f"port {port} .*choose another with --grpc-port"):
                take("127.0.0.1", port, "--grpc-port")
        with listen_beside(kept) as one, listen_beside(kept) as other:
            assert one.getsockname() == other.getsockname() == kept.getsockname()
            with pytest.raises(BadSetting, match=f"port {port}"):
                reserve("127.0.0.1", port, "--grpc-port")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_processes_that_share_all_addresses_take_both_families() -> None:
    with reserve("::", 0, "--port") as kept, listen_beside(kept) as listener:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listener.getsockname()[1]), timeout=60).close()


SLOW_TO_LOAD = """
import time
from downshift.server.repository import loading
real = loading.prepare
def slow(path, setup, report):
    print("Open:  somewhere", flush=True)
    while True:
        time.sleep(0.05)
        report(0.5, "measuring")
loading.prepare = slow
"""


def test_a_server_that_is_asked_to_end_while_it_loads_does(tmp_path: Path) -> None:
    write(tmp_path / "tiny.onnx", tiny_artifact())
    with ServerProcess(tmp_path / "tiny.onnx", {}, SLOW_TO_LOAD) as server:
        log = server.stop()
        assert (server.process.returncode, log) == (0, "")


class ClosableHandler(logging.Handler):
    """Notes that it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True
        super().close()


def test_whoever_runs_a_server_keeps_the_handlers_of_its_log() -> None:
    """`logging.config.dictConfig`, which uvicorn calls by default, closes all that there are."""
    handler = ClosableHandler()
    with listening():
        pass
    assert not handler.closed


def test_a_taken_port_of_the_metrics_is_said() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        said = f"'127.0.0.1', port {port} .*another with --metrics-port"
        with pytest.raises(BadSetting, match=said), Ports.open("127.0.0.1", 0, port, None):
            pass


def test_metrics_can_have_a_port_of_their_own() -> None:
    catalog, backend, metrics = Catalog([MODEL]), ScriptedBackend(), Metrics(CollectorRegistry())
    with listen("127.0.0.1", 0) as listener:
        expose(catalog, metrics.exposition, listener, "metrics-port", metrics.supervisor)
        with httpx2.Client(base_url=url(listener), trust_env=False, timeout=PATIENCE) as client:
            wait_for(lambda: client.get("/metrics").status_code == 200)
            assert "downshift_build_info{" in client.get("/metrics").text
            assert client.get("/v2").status_code == 404
            assert client.get("/v2/health/live").json() == {"live": True}
            assert client.get("/v2/health/ready").status_code == 503
            catalog.publish(MODEL, backend)
            assert client.get("/v2/health/ready").json() == {"ready": True}
            backend.scheduler.serving = False
            assert client.get("/v2/health/live").status_code == 503


def test_the_settings_say_where_requests_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sinks(Settings()) == []
    [log] = sinks(Settings(access_log=str(tmp_path / "log")))
    assert str(log) == f"the access log {tmp_path / 'log'}"
    log.close()
    monkeypatch.setitem(
        sys.modules, "downshift.server.telemetry.spans", None
    )  # as where the extra is not installed
    with pytest.raises(BadSetting, match=r"OpenTelemetry is not installed .*downshift\[otel\]"):
        sinks(Settings(otel=True))


def test_the_url_can_be_opened() -> None:
    with listen("0.0.0.0", 0) as listener:
        assert url(listener) == f"http://localhost:{listener.getsockname()[1]}"
    with listen("127.0.0.1", 0) as listener:
        assert url(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_all_addresses_are_those_of_both_families_and_the_url_works() -> None:
    if not socket.has_ipv6 or not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with listen("::", 0) as listener:
        port = listener.getsockname()[1]
        assert url(listener) == f"http://localhost:{port}"
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as client:
                client.connect((address, port))
                listener.accept()[0].close()
    with socket.create_server(("::", 0), family=socket.AF_INET6) as only:
        assert url(only) == f"http://[::1]:{only.getsockname()[1]}"


def test_the_sample_is_the_picture_beside_the_artifact(tmp_path: Path) -> None:
    assert str(sample_picture(tmp_path / "pets.onnx")) == "picture.jpg"
    (tmp_path / "pets.png").touch()
    assert sample_picture(tmp_path / "pets.onnx") == tmp_path / "pets.png"


SCRIPT = """
import sys
from downshift.cli.server_console import ServerConsole
from downshift.server.serve import run
settings = {"threads": 1, "cache_dir": sys.argv[2], "drain_seconds": 5, "access_log": sys.argv[2] + ".log"}
run(sys.argv[1], port=0, operator=ServerConsole(), **settings)
loaded = {"torch", "torchvision"} & set(sys.modules)
print("torch-free" if not loaded else loaded)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server of a tiny artifact as its own process, and its URL."""
    write(folder / "tiny.onnx", tiny_artifact())
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder / "tiny.onnx"), str(folder / "cache")],
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout is not None
        for line in started.stdout:
            if found := re.match(r"Open:\s+(\S+)", line):
                yield started, found[1]
                break
        else:
            pytest.fail("the server ended before it was ready")
        started.kill()


def test_end_to_end(process: tuple[subprocess.Popen[str], str], folder: Path) -> None:
    """Every sub-net answers over HTTP what plain onnxruntime answers; headers, metrics and statuses hold."""
    started, address = process
    artifact = tiny_artifact()
    values = np.random.default_rng(1).standard_normal((2, 3, 5, 5)).astype(np.float32)
    request = {
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [2, 3, 5, 5], "data": values.tolist()}]
    }
    with httpx2.Client(base_url=address, trust_env=False, timeout=PATIENCE) as client:
        for subnet in artifact.manifest.names:
            response = client.post("/v2/models/tiny/infer", json=request, headers={"X-Subnet": subnet})
            session = onnxruntime.InferenceSession(materialize(artifact, subnet).SerializeToString())
            [expected] = session.run(None, {"image": values})
            assert response.headers["x-subnet"] == subnet
            np.testing.assert_allclose(
                response.json()["outputs"][0]["data"], np.ravel(expected), rtol=1e-5, atol=1e-5
            )
        labelled = client.post(
            "/predict", content=encoded(picture(noise(9, 7))), headers={"X-Latency-Budget-Ms": "30000"}
        )
        impossible = client.post(
            "/v2/models/tiny/infer", json=request, headers={"X-Latency-Budget-Ms": "0.000001"}
        )
        nonsense = client.post("/predict", content=b"hello")
        [stats] = client.get("/v2/models/tiny/stats").json()["model_stats"]
        metrics = client.get("/metrics").text
    counts = {name: each["count"] for name, each in stats["inference_stats"].items()}
    answered = dict.fromkeys(("success", "queue", "compute_input", "compute_infer", "compute_output"), 4)
    assert counts == answered | {"fail": 2, "cache_hit": 0, "cache_miss": 0}
    assert stats["inference_count"] == 7
    assert 'nv_inference_request_success{model="tiny",version="1"} 4.0' in metrics
    assert labelled.status_code == 200
    assert {each["label"] for each in labelled.json()["predictions"]} == {"cat", "dog", "bird"}
    assert 0 < float(labelled.headers["x-latency-budget-remaining-ms"]) < 30000
    assert (impossible.status_code, nonsense.status_code) == (504, 415)
    assert 'downshift_requests_total{outcome="expired",subnet="none"} 1.0' in metrics
    assert 'downshift_requests_total{outcome="invalid",subnet="none"} 1.0' in metrics
    assert 'downshift_subnet_selected_total{reason="pinned",subnet="s2"} 1.0' in metrics
    # The profile is kept once tuning in the background has ended.
    wait_for(lambda: list(folder.glob("cache/profile-*.json")))
    started.send_signal(signal.SIGTERM)
    rest = started.stdout.read() if started.stdout else ""
    assert started.wait(timeout=PATIENCE) == 0
    assert rest.strip().endswith("torch-free")
    lines = [json.loads(line) for line in (folder / "cache.log").read_text().splitlines()]
    assert len({line["request_id"] for line in lines}) == len(lines) == len(artifact.manifest.names) + 5
    assert [line["subnet"] for line in lines][: len(artifact.manifest.names)] == [*artifact.manifest.names]


SEVERAL = """
import sys
from downshift.cli.server_console import ServerConsole
from downshift.server.serve import run
settings = {"threads": 1, "cache_dir": sys.argv[1], "admin_keys": "the-admins-key", "drain_seconds": 5}
run(*sys.argv[2:], port=0, operator=ServerConsole(), **settings)
"""


def test_several_models_and_a_swap_that_fails_and_one_that_succeeds(folder: Path) -> None:
    """A corrupt file and one that answers otherwise than its export leave the old version serving."""
    write(folder / "first.onnx", tiny_artifact())
    write(folder / "second.onnx", tiny_artifact(seed=1))
    values = np.ones((1, 3, 5, 5), np.float32)
    request = {
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 3, 5, 5], "data": values.tolist()}]
    }

    def expected(seed: int) -> object:
        session = onnxruntime.InferenceSession(
            materialize(tiny_artifact(seed=seed), "s0").SerializeToString()
        )
        return pytest.approx(session.run(None, {"image": values})[0][0].tolist(), abs=1e-5)

    def logits(client: httpx2.Client, model: str) -> list[float]:
        response = client.post(f"/v2/models/{model}/infer", json=request, headers={"X-Subnet": "s0"})
        response.raise_for_status()
        answer: list[float] = response.json()["outputs"][0]["data"]
        return answer

    command = [sys.executable, "-c", SEVERAL, str(folder / "cache")]
    command += [str(folder / "first.onnx"), f"other={folder / 'second.onnx'}"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started,
        httpx2.Client(trust_env=False, timeout=120) as client,
    ):
        assert started.stdout is not None
        found = next(filter(None, (re.match(r"Open:\s+(\S+)", line) for line in started.stdout)))
        client.base_url = httpx2.URL(found[1])
        client.headers["X-API-Key"] = "the-admins-key"
        assert client.get("/v2/models").json() == {"models": [{"name": "first"}, {"name": "other"}]}
        assert logits(client, "first") == expected(0)
        assert logits(client, "other") == expected(1)
        whole = (folder / "second.onnx").read_bytes()
        (folder / "first.onnx").write_bytes(whole[: len(whole) // 2])
        refused = client.post("/v2/repository/models/first/load")
        assert refused.status_code == 400
        assert "version 1 is still served" in refused.json()["error"]
        assert logits(client, "first") == expected(0)
        (folder / "first.onnx").write_bytes(whole)
        assert client.post("/v2/repository/models/first/load").json()["version"] == "2"
        assert logits(client, "first") == expected(1)
        index = {entry["name"]: entry for entry in client.post("/v2/repository/index").json()}
        assert (index["first"]["version"], index["first"]["state"]) == ("2", "READY")
        assert client.post("/v2/repository/models/other/unload").status_code == 200
        assert client.get("/v2/models/other").status_code == 404
        assert client.get("/v2/health/ready").status_code == 200
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=PATIENCE) == 0


def test_a_damaged_artifact_ends_the_server_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x0a" + bytes(50))
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "broken.onnx"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    assert "ArtifactError" in ended.stderr
