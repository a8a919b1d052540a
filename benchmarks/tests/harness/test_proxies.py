"""The proxies' configurations, run for real in front of two scripted replicas."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.harness.proxies import PROXIES, envoy_program, haproxy_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PROGRAMS = {"Envoy": envoy_program, "HAProxy": haproxy_program}
BUDGET_MS = 20_000
SECONDS = 0.2  # that a replica takes for its answer


@dataclass
class Script:
    """What both replicas answer: one status after the other, 0 for a broken connection, then 200.

    tries: the headers of every request, in order of arrival.
    """

    statuses: list[int] = field(default_factory=list)
    tries: list[Mapping[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Quiet(ThreadingHTTPServer):
    """Says nothing of connections that a proxy breaks off."""

    def handle_error(self, *_: Any) -> None:
        pass


def handler(script: Script) -> type[BaseHTTPRequestHandler]:
    class Replica(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with script.lock:
                script.tries.append({name.lower(): value for name, value in self.headers.items()})
                status = script.statuses.pop(0) if script.statuses else 200
            time.sleep(SECONDS)
            if status:
                self._answer(status)
            else:
                self.close_connection = True

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    return Replica


@contextmanager
def replicas(script: Script) -> Iterator[list[int]]:
    """The ports of two."""
    servers = [Quiet(("127.0.0.1", 0), handler(script)) for _ in range(2)]
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield [server.server_port for server in servers]
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


@dataclass
class Proxied:
    script: Script
    port: int

    def ask(self, *statuses: int, path: str = "/v2/models/m/infer", **headers: str) -> int:
        """The status of the answer when the replicas answer these in turn."""
        self.script.statuses[:], self.script.tries[:] = statuses, []
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", b"{}", named)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@pytest.fixture(scope="module", params=sorted(PROXIES))
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    if PROGRAMS[request.param]() is None:
        pytest.skip(f"{request.param} is not installed")
    script = Script()
    folder: Path = tmp_path_factory.mktemp("proxy")
    with replicas(script) as ports, PROXIES[request.param](ports, folder) as server:
        yield Proxied(script, server.port)


def test_a_draining_replica_s_refusal_is_tried_again(proxied: Proxied) -> None:
    assert proxied.ask(503, X_Latency_Budget_Ms=str(BUDGET_MS)) == 200
    assert len(proxied.script.tries) == 2


def test_a_broken_connection_is_tried_again(proxied: Proxied) -> None:
    assert proxied.ask(0) == 200
    assert len(proxied.script.tries) == 2


@pytest.mark.parametrize("status", [504, 429, 400, 500])
def test_any_other_answer_is_the_client_s(proxied: Proxied, status: int) -> None:
    assert proxied.ask(status) == status
    assert len(proxied.script.tries) == 1


def test_tries_are_bounded(proxied: Proxied) -> None:
    assert proxied.ask(*[503] * 20) == 503
    assert len(proxied.script.tries) == 4


def test_every_try_learns_what_is_left_of_the_budget(proxied: Proxied) -> None:
    began = time.time()
    assert proxied.ask(503, 503, X_Latency_Budget_Ms=str(BUDGET_MS)) == 200
    tries = proxied.script.tries
    assert [each["x-latency-budget-ms"] for each in tries] == [str(BUDGET_MS)] * 3
    if "x-envoy-expected-rq-timeout-ms" in tries[0]:
        left = [int(each["x-envoy-expected-rq-timeout-ms"]) for each in tries]
        assert BUDGET_MS >= left[0] > left[1] > left[2] > 0
    else:
        [deadline] = {each["x-deadline-unix-ms"] for each in tries}
        assert -0.1 <= float(deadline) / 1e3 - (began + BUDGET_MS / 1e3) < 10  # clocks are read apart


def test_a_client_s_own_deadline_is_passed_on(proxied: Proxied) -> None:
    assert proxied.ask(X_Latency_Budget_Ms="5000", X_Deadline_Unix_Ms="1900000000000") == 200
    assert proxied.script.tries[0]["x-deadline-unix-ms"] == "1900000000000"


def test_the_budget_is_the_proxy_s_timeout(proxied: Proxied) -> None:
    assert proxied.ask(X_Latency_Budget_Ms=f"{SECONDS * 1e3 / 4:.0f}") == 504
    assert len(proxied.script.tries) == 1


def test_without_a_budget_there_is_no_deadline(proxied: Proxied) -> None:
    assert proxied.ask() == 200
    assert "x-deadline-unix-ms" not in proxied.script.tries[0]
    assert proxied.ask(X_Latency_Budget_Ms="soon") == 200  # the server refuses it, not the proxy


def test_loading_is_not_proxied(proxied: Proxied) -> None:
    assert proxied.ask(path="/v2/repository/models/m/load") == 403
    assert proxied.script.tries == []
