"""`downshift serve --workers 2` as its users meet it: real processes, killed and asked to end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import psutil
import pytest

from downshift.models.artifact import write
from downshift.runtime.machine import usable_cores
from downshift.server.connection.listener import listen
from downshift.server.errors import BadSetting
from downshift.server.processes.peers import Peers
from downshift.server.serve import run
from tests.models.tiny_artifact import tiny_artifact
from tests.server.listening import wait_for
from tests.server.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(usable_cores() < 2, reason="two workers need two cores")

REFUSED = 0  # the status of a request that finds nobody listening, or nobody who will accept it any more
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

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.stop()  # a manager that is killed leaves its workers to end by themselves
        super().__exit__(*error)

    def infer(self) -> int:
        """The status of one request, on a connection of its own."""
        with httpx2.Client(base_url=self.url, trust_env=False, timeout=120) as client:
            try:
                return client.post("/v2/models/tiny/infer", json=BODY).status_code
            except httpx2.NetworkError:
                return REFUSED

    def metric(self, name: str) -> float:
        """The sum of that metric's series."""
        text = httpx2.get(f"{self.url}/metrics", trust_env=False, timeout=120).text
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    @property
    def both(self) -> bool:
        """Two workers answer, and their models are loaded."""
        return len(self.workers) == 2 and self.metric("downshift_worker_up") == 2


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
    assert [server.infer() for _ in range(40)] == [200] * 40
    assert server.metric("nv_inference_request_success") == before + 40
    own = [told_by(worker) for worker in server.workers]
    assert min(own) > 0, "connections are dealt to both"
    assert sum(own) >= before + 40


def told_by(worker: psutil.Process) -> int:
    """How many requests that worker has answered, by its own count."""
    [path] = {each.laddr for each in worker.net_connections("unix") if each.laddr.endswith(".sock")}
    folder = Path(path).parent
    told = Peers(str(folder), 2).told().now[int(Path(path).stem)]
    assert told is not None
    [family] = [family for family in told if family.name == "nv_inference_request_success"]
    return int(sum(sample.value for sample in family.samples))


def test_when_one_is_killed_the_other_answers_and_a_new_one_comes(server: Workers) -> None:
    killed, before = server.workers[1], server.metric("nv_inference_request_success")
    killed.kill()
    wait_for(lambda: not killed.is_running() or killed.status() == psutil.STATUS_ZOMBIE)
    assert [server.infer() for _ in range(20)] == [200] * 20
    assert server.metric("nv_inference_request_success") == before + 20, "what it has counted stays"
    wait_for(lambda: server.both)
    assert server.metric("nv_inference_request_success") == before + 20
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
        wait_for(lambda: not any(map(runs, workers)))


def runs(process: psutil.Process) -> bool:
    """It does, and is no zombie that nobody has waited for."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


SLOW = """
import time
from downshift.runtime.scheduling.execution import Executor
real = Executor.run
def slow(self, batch):
    time.sleep(1.0)
    return real(self, batch)
Executor.run = slow
"""


def test_a_signal_to_all_processes_at_once_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    """As systemd ends a service by default: the manager's copy reaches a worker as its second SIGTERM."""
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(SLOW)  # in workers, too
    with Workers(tmp_path, PYTHONPATH=str(slow)) as server, ThreadPoolExecutor(8) as pool:
        wait_for(lambda: server.both)
        asked = [pool.submit(server.infer) for _ in range(8)]
        wait_for(lambda: server.metric("downshift_inflight_requests"))
        for process in (*server.workers, psutil.Process(server.process.pid)):
            process.send_signal(signal.SIGTERM)
        statuses = [each.result(120) for each in asked]
        assert 200 in statuses
        assert set(statuses) <= {200, 503, REFUSED}
        assert server.process.wait(120) == 0


def test_while_workers_start_readiness_comes_and_stays(tmp_path: Path) -> None:
    with Workers(tmp_path) as server:  # the first one is ready
        answers = []
        while not server.both:
            answers += [
                httpx2.get(f"{server.url}/v2/health/ready", trust_env=False, timeout=120) for _ in range(4)
            ]
        assert {answer.status_code for answer in answers} <= {200}


def test_without_standard_streams_it_serves(tmp_path: Path) -> None:
    write(tmp_path / "tiny.onnx", tiny_artifact())
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = f"exec {sys.executable} -m downshift serve tiny.onnx --workers 2 --port {port} <&- >&- 2>&-"
    environment = {**os.environ, "DOWNSHIFT_CACHE_DIR": str(tmp_path / "cache")}
    with subprocess.Popen(["bash", "-c", command], cwd=tmp_path, env=environment) as process:
        wait_for(lambda: answers(port))
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


def answers(port: int) -> bool:
    """A server is ready there."""
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/v2/health/ready", trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


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
    with ThreadPoolExecutor(1) as pool, pytest.raises(BadSetting, match="run it on the main thread"):
        pool.submit(run, model, port=0, workers=2).result()


def test_why_no_worker_can_start_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(BadSetting, match=r"broken\.onnx"):
        run(tmp_path / "broken.onnx", port=0, workers=2)
