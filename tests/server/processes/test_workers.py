"""`downshift serve --workers 2` as its users meet it: real processes, killed and asked to end."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import psutil
import pytest

from downshift.models.artifact import write
from downshift.runtime.machine import usable_cores
from downshift.server.errors import BadSetting
from downshift.server.serve import run
from tests.models.tiny_artifact import tiny_artifact
from tests.server.listening import wait_for
from tests.server.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(usable_cores() < 2, reason="two workers need two cores")

BODY = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 3, 5, 5], "data": [0.5] * 75}]}


class Workers(ServerProcess):
    """A server of two workers."""

    def __init__(self, folder: Path, **settings: str) -> None:
        write(folder / "tiny.onnx", tiny_artifact())
        super().__init__(folder / "tiny.onnx", {"DOWNSHIFT_WORKERS": "2", **settings})

    @property
    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    def infer(self) -> int:
        """The status of one request, on a connection of its own."""
        with httpx2.Client(base_url=self.url, trust_env=False, timeout=120) as client:
            return client.post("/v2/models/tiny/infer", json=BODY).status_code

    def metric(self, name: str) -> float:
        """The sum of that metric's series."""
        text = httpx2.get(f"{self.url}/metrics", trust_env=False, timeout=120).text
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    @property
    def both(self) -> bool:
        """Two workers answer, and their models are loaded."""
        up, ready = self.metric("downshift_worker_up"), self.metric("downshift_ready")
        return len(self.workers) == 2 and up == 2 and ready == 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with Workers(tmp_path_factory.mktemp("w")) as server:
        wait_for(lambda: server.both)
        yield server


def test_each_computes_on_cores_of_its_own(server: Workers) -> None:
    first, second = (set(os.sched_getaffinity(worker.pid)) for worker in server.workers)
    assert first.isdisjoint(second)
    assert first | second <= os.sched_getaffinity(0)


def test_one_text_of_metrics_counts_what_all_answered(server: Workers) -> None:
    before = server.metric("nv_inference_request_success")
    assert [server.infer() for _ in range(20)] == [200] * 20
    assert server.metric("nv_inference_request_success") == before + 20


def test_when_one_is_killed_the_other_answers_and_a_new_one_comes(server: Workers) -> None:
    killed = server.workers[1]
    killed.kill()
    wait_for(lambda: not killed.is_running() or killed.status() == psutil.STATUS_ZOMBIE)
    assert [server.infer() for _ in range(20)] == [200] * 20
    wait_for(lambda: server.both)
    assert killed.pid not in {worker.pid for worker in server.workers}
    assert [server.infer() for _ in range(20)] == [200] * 20


def test_a_new_artifact_is_taken_by_all_after_sighup(tmp_path: Path) -> None:
    with Workers(tmp_path) as server:
        wait_for(lambda: server.both)
        write(tmp_path / "tiny.onnx", tiny_artifact(seed=2))
        server.process.send_signal(signal.SIGHUP)
        log = tmp_path / "server.log"
        wait_for(lambda: log.read_text().count("is served now") == 2)
        assert [server.infer() for _ in range(10)] == [200] * 10


def test_on_sigterm_all_drain_and_nothing_stays(tmp_path: Path) -> None:
    with Workers(tmp_path) as server:
        wait_for(lambda: server.both)
        workers = server.workers
        sockets = [each.laddr for worker in workers for each in worker.net_connections("unix")]
        folders = {Path(path).parent for path in sockets if path.endswith(".sock")}
        assert len(folders) == 1
        server.stop()
        assert server.process.returncode == 0
        assert not any(worker.is_running() for worker in workers)
        assert not any(folder.exists() for folder in folders)


def test_when_the_manager_is_killed_no_worker_stays(tmp_path: Path) -> None:
    with Workers(tmp_path) as server:
        wait_for(lambda: server.both)
        workers = server.workers
        server.process.kill()
        wait_for(lambda: not any(worker.is_running() for worker in workers))


def test_grpc_is_shared_too(tmp_path: Path) -> None:
    grpc = pytest.importorskip("grpc", reason="gRPC is an extra")
    health = pytest.importorskip("grpc_health.v1.health_pb2_grpc", reason="gRPC is an extra")
    from grpc_health.v1 import health_pb2

    with Workers(tmp_path, DOWNSHIFT_GRPC_PORT="0") as server:
        wait_for(lambda: server.both)
        assert server.process.stdout is not None
        address = server.process.stdout.readline().split()[-1]

        def serving() -> bool:
            with grpc.insecure_channel(address) as channel:
                answer = health.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=120)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        wait_for(lambda: all(serving() for _ in range(10)))  # each on a connection of its own


def test_what_cannot_be_is_said_before_anything_starts(tmp_path: Path) -> None:
    write(tmp_path / "tiny.onnx", tiny_artifact())
    model = tmp_path / "tiny.onnx"
    with pytest.raises(BadSetting, match=r"--workers 200.* give at most \d+"):
        run(model, port=0, workers=200)
    with pytest.raises(BadSetting, match="loaded by one worker alone"):
        run(model, port=0, workers=2, admin_keys="secret-of-the-admin")


def test_why_no_worker_can_start_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(BadSetting, match=r"broken\.onnx"):
        run(tmp_path / "broken.onnx", port=0, workers=2)
