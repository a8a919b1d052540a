"""Metrics exposition: rendered off the event loop, with concurrent scrapes coalesced and rate-limited."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from starlette.responses import Response

from downshift.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.metrics_core import Metric
    from starlette.types import Receive, Scope, Send

SHARE = 0.1  # duty cycle: maximum share of one core's time for scrapes
PAUSE = 50e-6  # seconds between two metric families, to hand the GIL to another thread


@dataclass(frozen=True)
class TextFormat:
    """An exposition format: its media type and its writer."""

    media_type: str
    write: Callable[[Collector], bytes]


PLAIN = TextFormat(CONTENT_TYPE_PLAIN_0_0_4, generate_latest)
OPENMETRICS = TextFormat(
    openmetrics.CONTENT_TYPE_LATEST, partial(openmetrics.generate_latest, version="1.0.0")
)


def choose(accept: str) -> TextFormat:
    """Content negotiation: OpenMetrics, which has exemplars, if accepted; else Prometheus text format."""
    return OPENMETRICS if "application/openmetrics-text" in accept else PLAIN


class Exposition:
    """Renders metrics on a thread of its own, started by the first scrape.

    Coalescing: all scrapes that arrive during a rendering share the next one, so no response is older than
    its request. Rate limit: after a rendering the thread sleeps nine times as long as it took, so a storm of
    scrapes cannot slow inference down.
    """

    def __init__(
        self,
        metrics: Collector,
        rest: Callable[[float], None] = time.sleep,
        supervisor: Supervisor | None = None,
    ) -> None:
        """rest: sleeps that many seconds. supervisor: runs the thread."""
        self._supervisor = supervisor or Supervisor()
        self._metrics = _YieldingCollector(metrics)
        self._rest = rest
        self._lock = threading.Lock()
        self._wanted: dict[TextFormat, Future[bytes]] = {}
        self._asked = threading.Event()
        self._started = False

    def text(self, form: TextFormat) -> Future[bytes]:
        """The next rendering in that format, shared by all callers; a caller cannot cancel it."""
        with self._lock:
            future = self._wanted.get(form)
            if future is None:
                future = self._wanted[form] = Future()
                future.set_running_or_notify_cancel()
            if not self._started:
                self._supervisor.start("metrics", self._serve)
                self._started = (
                    True  # only now: where the system refuses a thread, the next scrape asks again
                )
        self._asked.set()
        return future

    async def response(self, accept: str) -> Response:
        """The answer to a scrape with that `Accept` header."""
        form = choose(accept)
        return Response(await asyncio.wrap_future(self.text(form)), media_type=form.media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application that answers `GET /metrics` and nothing else."""
        if scope["type"] == "http":
            if scope["path"] in ("/metrics", "/") and scope["method"] in ("GET", "HEAD"):
                response = await self.response(_accept(dict(scope["headers"])))
            else:
                response = Response("only /metrics is served here", status_code=404)
            await response(scope, receive, send)

    def _serve(self) -> None:
        self._asked.wait()
        self._asked.clear()
        with self._lock:
            wanted, self._wanted = self._wanted, {}
        for form, future in wanted.items():
            began = time.perf_counter()
            try:
                future.set_result(form.write(self._metrics))
            except Exception as error:  # noqa: BLE001  raised again by whoever asked
                future.set_exception(error)
            self._rest((time.perf_counter() - began) * (1.0 / SHARE - 1.0))


class _YieldingCollector(Collector):
    """Collects the metric families of another collector and releases the GIL between them."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def collect(self) -> Iterable[Metric]:
        """Every family, one by one."""
        for family in self._collector.collect():
            yield family
            time.sleep(PAUSE)


def _accept(headers: Mapping[bytes, bytes]) -> str:
    return headers.get(b"accept", b"").decode("latin-1")
