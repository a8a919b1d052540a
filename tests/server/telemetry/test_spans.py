"""Spans in memory, and sent over HTTP to a collector on loopback."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from downshift.server.telemetry.request_log import RequestLog
from tests.server.doubles import ScriptedBackend, serving, tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

pytest.importorskip("opentelemetry.sdk", reason="the extra downshift[otel] is not installed")

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from downshift.server.telemetry.spans import Spans

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


async def spans(headers: dict[str, str], backend: ScriptedBackend | None = None) -> dict[str, ReadableSpan]:
    """The spans of one inference request, by name, and the client's headers under `told`."""
    exporter = InMemorySpanExporter()
    sink = Spans(exporter)
    async with serving(backend, request_log=RequestLog([sink])) as served:
        response = await served.client.post("/v2/models/pets/infer", json=tensor(), headers=headers)
    found: Sequence[ReadableSpan] = exporter.get_finished_spans()
    told = response.headers.get("traceresponse")
    if told is not None and found:
        assert told == f"00-{TRACE}-{found[-1].context.span_id:016x}-01"
    return {span.name: span for span in found}


async def test_a_request_and_its_phases_continue_the_clients_trace() -> None:
    found = await spans({"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "mine"})
    request, queue, infer = found["POST pets"], found["queue"], found["infer"]
    assert request.kind is SpanKind.SERVER
    assert f"{request.context.trace_id:032x}" == TRACE
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT
    for phase in (queue, infer):
        assert phase.parent is not None
        assert phase.parent.span_id == request.context.span_id
    attributes = dict(request.attributes or {})
    assert attributes["downshift.subnet"] == "s50"
    assert attributes["downshift.request_id"] == "mine"
    assert attributes["http.response.status_code"] == 200
    assert queue.start_time is not None
    assert queue.end_time == infer.start_time
    assert infer.end_time is not None
    assert infer.end_time - queue.start_time == pytest.approx(5.5e6, abs=1e3)


async def test_without_a_trace_one_begins() -> None:
    found = await spans({})
    assert found["POST pets"].parent is None
    assert len({span.context.trace_id for span in found.values()}) == 1


async def test_what_the_client_does_not_sample_is_not_kept() -> None:
    assert await spans({"traceparent": f"00-{TRACE}-{PARENT}-00"}) == {}


async def test_a_failure_is_marked_and_has_no_phases() -> None:
    [request] = (await spans({}, ScriptedBackend(error=RuntimeError("broken")))).values()
    assert request.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(("name", "service"), [(None, "downshift"), ("pets-server", "pets-server")])
async def test_the_service_is_called_as_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, name: str | None, service: str
) -> None:
    if name is not None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", name)
    found = await spans({})
    assert found["queue"].resource.attributes["service.name"] == service


async def test_spans_reach_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        async with serving(request_log=RequestLog([Spans()])) as served:
            await served.client.post(
                "/v2/models/pets/infer", json=tensor(), headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}
            )
        collector.shutdown()
        thread.join()
    [(path, body)] = received
    assert path == "/v1/traces"
    assert bytes.fromhex(TRACE) in body
    assert b"downshift.subnet" in body
