"""Everything the tests of deploy/ share: its files, our metrics' names, a real Prometheus, a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from downshift.runtime.gpu.monitor import Gpu
from downshift.server.app import create_app
from downshift.server.catalog import Catalog
from downshift.server.connection.listener import listen
from downshift.server.settings import Settings
from downshift.server.telemetry.metrics import Metrics
from tests.server.doubles import ENGINE, Load, ScriptedBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = ("targets.yml", "recording.yml", "alerts.yml")
_SERVER = """
import sys
from downshift.cli.server_console import ServerConsole
from downshift.server.serve import run
settings = {"threads": 1, "cache_dir": sys.argv[2], "drain_seconds": 5}
run(sys.argv[1], port=int(sys.argv[3]), operator=ServerConsole(), **settings)
"""
_NAME = re.compile(r"(?<![\w:])(?:[a-z_]+:)?(?:downshift|nv)_[a-z0-9_:]+|(?<![\w:])[a-z_]+:[a-z_][a-z0-9_:]*")


def tool(name: str) -> str:
    """The program's path; skips the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package prometheus)")
    return found


def documents(path: Path) -> list[dict[str, Any]]:
    """The YAML documents in a file."""
    return list(yaml.safe_load_all(path.read_text()))


def rules(kind: str) -> Iterator[dict[str, Any]]:
    """Every rule under deploy/ of that kind, `record` or `alert`."""
    for name in RULES:
        [document] = documents(PROMETHEUS / name)
        for group in document["groups"]:
            yield from (rule for rule in group["rules"] if kind in rule)


def exposed() -> set[str]:
    """The names of all samples that our /metrics can hold, on a machine with a GPU."""
    backend = ScriptedBackend(load=Load(gpus=(Gpu("GPU-1", 0.5, 1, 2),)))
    metrics, catalog = Metrics(CollectorRegistry()), Catalog(["pets"])
    metrics.announce("pets", backend.manifest, [ENGINE])
    catalog.publish("pets", backend)
    create_app(catalog, metrics, Settings())
    worker = metrics.supervisor.start("load", lambda: None, period=3600.0)
    text = generate_latest(metrics.registry).decode()
    worker.close()
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def known() -> set[str]:
    """The names an expression may use: our metrics and what the rules record."""
    return exposed() | {rule["record"] for rule in rules("record")}


def named(expression: str) -> set[str]:
    """The metrics of ours that an expression names, recorded ones included."""
    return set(_NAME.findall(expression))


def until(condition: Callable[[], Any], what: str, seconds: float = 120.0) -> Any:
    """The first true value of the condition."""
    give_up = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < give_up, f"{what} never came true"
        time.sleep(0.1)
    return value


@contextmanager
def server(artifact: Path, cache: Path, **variables: str) -> Iterator[httpx2.Client]:
    """A server process of that artifact, ready, and a client for it; variables: more of its environment."""
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", _SERVER, str(artifact), str(cache), str(port)]
    environment = os.environ | dict(variables)
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment, cwd=ROOT) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120) as client,
    ):
        try:
            until(lambda: _answers(client, "/v2/health/ready"), "the server is ready")
            yield client
        finally:
            process.kill()


class RealPrometheus:
    """A client for a Prometheus that runs."""

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query; raises for an expression that Prometheus refuses."""
        answer = self._client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def get(self, path: str, **parameters: str) -> Any:
        """The data of another endpoint."""
        answer = self._client.get(f"/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", answer
        return answer["data"]


@contextmanager
def prometheus(folder: Path, *servers: httpx2.Client) -> Iterator[RealPrometheus]:
    """A Prometheus with the configuration of deploy/, which scrapes these servers every second."""
    program = tool("prometheus")
    [configuration] = documents(PROMETHEUS / "prometheus.yml")
    configuration["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(PROMETHEUS / name) for name in configuration["rule_files"]]
    [job] = configuration["scrape_configs"]
    targets = [f"{client.base_url.host}:{client.base_url.port}" for client in servers]
    job["static_configs"] = [{"targets": targets}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]
    with ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("wb"))
        process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
        stack.callback(process.kill)
        client = stack.enter_context(
            httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120)
        )
        until(lambda: process.poll() is not None or _answers(client, "/-/ready"), "Prometheus is ready")
        assert process.poll() is None, (folder / "log").read_text()
        yield RealPrometheus(client)


def _answers(client: httpx2.Client, path: str) -> bool:
    try:
        return bool(client.get(path).is_success)
    except httpx2.TransportError:
        return False
