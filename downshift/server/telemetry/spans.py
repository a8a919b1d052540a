"""Exports finished requests as OpenTelemetry spans: `request` with the children `queue` and `infer`.

Needs the extra `downshift[otel]`. Spans are created after the request, off the event loop, from recorded
timestamps, so tracing adds nothing to a request's latency. Configured by OpenTelemetry's own environment
variables, such as OTEL_EXPORTER_OTLP_ENDPOINT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from downshift.server.telemetry.metrics import software_version
from downshift.server.telemetry.request_log import unix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.util.types import AttributeValue

    from downshift.server.telemetry.request_log import RequestRecord

FAILED = 500


class _Ids(RandomIdGenerator):
    """Id generator that uses the span id sent to the client in `traceresponse`; used by one thread."""

    def __init__(self) -> None:
        self.told: int | None = None

    def generate_span_id(self) -> int:
        told, self.told = self.told, None
        return told or super().generate_span_id()


class Spans:
    """A sink of records. Sampling is decided by the client's `traceparent`, else by OTEL_TRACES_SAMPLER."""

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        """exporter: by default OTLP over HTTP."""
        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  seconds of imports
                OTLPSpanExporter,
            )

            exporter = OTLPSpanExporter()
        self._ids = _Ids()
        self._provider = TracerProvider(resource=_resource(), id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("downshift.server", software_version())

    def __str__(self) -> str:
        return "OpenTelemetry"

    def write(self, records: Sequence[RequestRecord], lost: int) -> None:  # noqa: ARG002  the access log tells
        """Export a span per record, with the two phases of executed requests as children."""
        for ended in records:
            self._write(ended)

    def close(self) -> None:
        """Flush the buffered spans."""
        self._provider.shutdown()

    def _write(self, ended: RequestRecord) -> None:
        told = ended.identity.trace
        self._ids.told = int(told.span_id, 16) if told else None
        span = self._tracer.start_span(
            f"{ended.method} {ended.model}" if ended.model else ended.method,
            context=_parent(ended),
            kind=SpanKind.SERVER,
            attributes=_attributes(ended),
            start_time=_nanoseconds(unix(ended.began, ended)),
        )
        if ended.status >= FAILED:
            span.set_status(StatusCode.ERROR)
        if ended.answered_at is not None:
            inside = trace.set_span_in_context(span)
            infer = unix(ended.answered_at, ended) - (ended.infer_seconds or 0.0)
            queue = infer - (ended.queue_seconds or 0.0)
            self._phase("queue", inside, queue, infer)
            self._phase("infer", inside, infer, unix(ended.answered_at, ended))
        span.end(_nanoseconds(ended.finished))

    def _phase(self, name: str, inside: Context, start: float, end: float) -> None:
        self._tracer.start_span(name, inside, start_time=_nanoseconds(start)).end(_nanoseconds(end))


def _resource() -> Resource:
    """The resource: service name of OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES, else `downshift`."""
    found = Resource.create({SERVICE_VERSION: software_version()})
    if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return found.merge(Resource({SERVICE_NAME: "downshift"}))
    return found


def _parent(ended: RequestRecord) -> Context | None:
    told = ended.identity.trace
    if told is None:
        return None
    flags = TraceFlags(TraceFlags.SAMPLED if told.sampled else TraceFlags.DEFAULT)
    parent = SpanContext(int(told.trace_id, 16), int(told.parent_id, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(parent))


def _attributes(ended: RequestRecord) -> dict[str, AttributeValue]:
    found: dict[str, str | float | None] = {
        "http.request.method": ended.method,
        "url.path": ended.path[:256],
        "http.response.status_code": ended.status,
        "client.address": ended.client,
        "downshift.request_id": ended.identity.request_id,
        "downshift.model": ended.model,
        "downshift.subnet": ended.subnet,
        "downshift.latency_budget_ms": None if ended.budget is None else ended.budget * 1e3,
    }
    return {name: value for name, value in found.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
