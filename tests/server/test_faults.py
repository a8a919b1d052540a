"""What goes wrong around a server, done to the real one: nothing is lost silently, and no answer is wrong."""

from __future__ import annotations

import resource
import signal
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
import onnxruntime
import pytest

from downshift.models.artifact import write
from downshift.models.materialize import materialize
from tests.models.tiny_artifact import tiny_artifact
from tests.server.listening import wait_for
from tests.server.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ARTIFACT = tiny_artifact()
INFER = "/v2/models/tiny/infer"
TUNED = 'downshift_tuning_progress_ratio{model="tiny"} 1.0'
RNG = np.random.default_rng(3)
INPUTS = RNG.standard_normal((8, 1, 3, 5, 5)).astype(np.float32)


@contextmanager
def served(folder: Path, planted: str = "", **settings: str) -> Iterator[tuple[ServerProcess, httpx2.Client]]:
    """The tiny artifact in a process of its own, in which `planted` has run before anything else."""
    if not (folder / "tiny.onnx").exists():
        write(folder / "tiny.onnx", ARTIFACT)
    environment = {"DOWNSHIFT_THREADS": "1", "DOWNSHIFT_ENGINES": '["onnxruntime"]'} | settings
    with (
        ServerProcess(folder / "tiny.onnx", environment, planted) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=120) as client,
    ):
        yield server, client


@pytest.fixture(scope="module")
def expected() -> list[Any]:
    """What sub-net s0 answers to each of the inputs."""
    session = onnxruntime.InferenceSession(materialize(ARTIFACT, "s0").SerializeToString())
    return [
        pytest.approx(session.run(None, {"image": each})[0][0].tolist(), abs=1e-4, nan_ok=False)
        for each in INPUTS
    ]


def ask(client: httpx2.Client, index: int) -> httpx2.Response:
    data = INPUTS[index].ravel().tolist()
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 3, 5, 5], "data": data}
    return client.post(INFER, json={"inputs": [tensor]}, headers={"X-Subnet": "s0"})


def logits(response: httpx2.Response) -> list[float]:
    assert response.status_code == 200, response.text
    answer: list[float] = response.json()["outputs"][0]["data"]
    return answer


def test_killed_in_the_middle_and_started_again_it_answers_as_before(
    tmp_path: Path, expected: list[Any]
) -> None:
    with served(tmp_path) as (server, client):
        assert logits(ask(client, 0)) == expected[0]
        wait_for(lambda: any((tmp_path / "cache").glob("profile-*.json")))
        broken: list[Exception] = []

        def until_it_breaks() -> None:
            try:
                while True:
                    ask(client, 1).raise_for_status()
            except httpx2.HTTPError as error:
                broken.append(error)

        asking = threading.Thread(target=until_it_breaks)
        asking.start()
        server.process.send_signal(signal.SIGKILL)
        asking.join()
        assert isinstance(broken[0], httpx2.TransportError), "the client is told by its connection"
        assert server.process.wait() == -signal.SIGKILL
    profile = next((tmp_path / "cache").glob("profile-*.json"))
    written = profile.stat().st_mtime_ns
    with served(tmp_path) as (_, client):
        assert [logits(ask(client, index)) for index in range(8)] == expected
    assert profile.stat().st_mtime_ns == written, "the profile is not measured again"


DYING = """
from downshift.runtime.scheduling.core import Core
take = Core.take
def dying(self, *arguments):
    if any(ticket.request.inputs.flat[0] == 7.0 for ticket in self.queue):
        raise ZeroDivisionError("a defect of the scheduler")
    return take(self, *arguments)
Core.take = dying
"""


def test_when_the_execution_thread_dies_everybody_is_told(tmp_path: Path, expected: list[Any]) -> None:
    with served(tmp_path, DYING) as (server, client):
        assert logits(ask(client, 0)) == expected[0]
        assert client.get("/v2/health/live").status_code == 200
        healthy = 'downshift_background_healthy{worker="executor"} '
        assert f"{healthy}1.0" in client.get("/metrics").text
        tensor = {"name": "image", "datatype": "FP32", "shape": [1, 3, 5, 5], "data": [7.0] * 75}
        assert client.post(INFER, json={"inputs": [tensor]}).status_code == 503
        assert ask(client, 0).status_code == 503
        assert client.get("/v2/health/ready").status_code == 503
        dead = client.get("/v2/health/live")
        assert f"{healthy}0.0" in client.get("/metrics").text
        assert (dead.status_code, "restart this server" in dead.json()["error"]) == (503, True)
        assert "a defect of the scheduler" in server.stop()
        assert server.process.returncode == 0


NAN = """
from downshift.runtime.scheduling import execution
in_chunks = execution._in_chunks
def spoiled(program, batch, size):
    outputs = in_chunks(program, batch, size)
    outputs[batch[:, 0, 0, 0] == 7.0] = float("nan")
    return outputs
execution._in_chunks = spoiled
execution.answers_finite = lambda manifest, run: False  # nor does it answer the self-check's inputs
"""


def test_an_answer_that_is_no_number_reaches_nobody(tmp_path: Path, expected: list[Any]) -> None:
    """An engine that answers NaN to its sample, too, has failed."""
    with served(tmp_path, NAN) as (_, client):
        data = np.concatenate([[7.0], np.zeros(74)]).tolist()
        tensor = {"name": "image", "datatype": "FP32", "shape": [1, 3, 5, 5], "data": data}
        failed = client.post(INFER, json={"inputs": [tensor]})
        assert failed.status_code == 500
        assert "answered NaN or infinity" in failed.json()["error"]
        assert [logits(ask(client, index)) for index in range(8)] == expected
        assert 'outcome="failed",subnet="s0"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("number", [3e38, -3e38, 1e38])
def test_numbers_so_large_that_the_answer_is_none_are_the_clients_to_mend(
    tmp_path: Path, expected: list[Any], number: float
) -> None:
    with served(tmp_path) as (_, client):
        signs = np.where(np.random.default_rng(1).random(75) < 0.5, -number, number)
        tensor = {"name": "image", "datatype": "FP32", "shape": [1, 3, 5, 5], "data": signs.tolist()}
        refused = client.post(INFER, json={"inputs": [tensor]}, headers={"X-Subnet": "s0"})
        assert refused.status_code == 400, refused.text
        assert "send inputs in the range of the training data" in refused.json()["error"]
        assert [logits(ask(client, index)) for index in range(8)] == expected
        metrics = client.get("/metrics").text
        assert 'outcome="invalid",subnet="s0"} 1.0' in metrics
        assert 'outcome="failed",subnet="s0"} 0.0' in metrics
        [stats] = client.get("/v2/models/tiny/stats").json()["model_stats"]
        assert stats["inference_stats"]["fail"]["count"] == 1


def test_a_disk_that_takes_nothing_costs_the_cache_and_nothing_else(
    tmp_path: Path, expected: list[Any]
) -> None:
    planted = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200, {resource.RLIM_INFINITY}))"
    with served(tmp_path, planted) as (_, client):
        assert [logits(ask(client, index)) for index in range(8)] == expected
    assert not list((tmp_path / "cache").glob("profile-*.json"))


def test_a_full_file_system_costs_the_cache_and_nothing_else(tmp_path: Path, expected: list[Any]) -> None:
    full = tmp_path / "full"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(full)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    try:
        (full / "taken").write_bytes(bytes(4096))
        with served(tmp_path, DOWNSHIFT_CACHE_DIR=str(full / "cache")) as (server, client):
            assert [logits(ask(client, index)) for index in range(8)] == expected
            wait_for(lambda: TUNED in client.get("/metrics").text)  # and its profile is to be kept
            assert "No space left on device" in server.stop()
    finally:
        subprocess.run(["umount", str(full)], check=True)


JUMPING = """
import random, time
real = time.time
time.time = lambda: real() + random.choice((-1e6, -3600.0, 0.0, 3600.0, 1e6))
"""


def test_a_wall_clock_that_jumps_moves_no_deadline(tmp_path: Path, expected: list[Any]) -> None:
    with served(tmp_path, JUMPING) as (_, client):
        client.headers["X-Latency-Budget-Ms"] = "20000"
        for index in [*range(8)] * 5:
            response = ask(client, index)
            assert logits(response) == expected[index]
            assert 0 < float(response.headers["x-latency-budget-remaining-ms"]) <= 20_000
            assert float(response.headers["server-timing"].rpartition("dur=")[2]) >= 0


def test_a_storm_of_scrapes_takes_nothing_from_those_who_ask(tmp_path: Path, expected: list[Any]) -> None:
    with served(tmp_path) as (server, client):
        over, scraped = threading.Event(), []

        def scrape() -> None:
            with httpx2.Client(base_url=server.url, trust_env=False, timeout=120) as scraper:
                while not over.is_set():
                    scraped.append(scraper.get("/metrics").status_code)
                    scraped.append(scraper.get("/v2/models/stats").status_code)

        storm = [threading.Thread(target=scrape) for _ in range(16)]
        for thread in storm:
            thread.start()
        for index in [*range(8)] * 10:
            assert logits(ask(client, index)) == expected[index]
        over.set()
        for thread in storm:
            thread.join()
        assert set(scraped) == {200}
