"""Small real classes that stand in for a deployment, and the application around them."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
from prometheus_client import CollectorRegistry

from downshift.models.pattern import Unstructured
from downshift.models.spec import InputSpec, Manifest, SubnetSpec
from downshift.runtime.machine import Machine
from downshift.runtime.profiling.profile import Measurement, Profile
from downshift.runtime.request import Answer, Request
from downshift.server.app import create_app
from downshift.server.catalog import Catalog
from downshift.server.settings import Settings
from downshift.server.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from downshift.runtime.gpu.monitor import Gpu
    from downshift.server.telemetry.request_log import RequestLog

MODEL = "pets"
LABELS = ("cat", "dog", "bird")
ENGINE = "scripted"
PIXELS = 2 * 2 * 3


def manifest(**changes: Any) -> Manifest:
    """Sub-nets s50 (90 % accurate) and s90 (80 %); input [n, 3, 2, 2], which takes bytes as they are."""
    fields: dict[str, Any] = {
        "network": "scripted",
        "subnets": (
            SubnetSpec("s50", 0.5, Unstructured(), 0.9, 50, 50),
            SubnetSpec("s90", 0.9, Unstructured(), 0.8, 10, 10),
        ),
        "input": InputSpec("image", 3, 2, 2, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        "output": "logits",
        "labels": LABELS,
        "masks": "levels",
        "layers": (),
        "norms": (),
        "sha256": "ab" * 32,
    }
    return Manifest(**(fields | changes))


def profile(spec: Manifest) -> Profile:
    """s50 takes 4 ms and s90 1 ms for one example, half as much again at the 99th percentile."""
    seconds = {"s50": 0.004, "s90": 0.001}
    return Profile(
        spec.sha256,
        Machine(cpu="a processor", cores=2, gpus=(), threads=1, versions={ENGINE: "1"}),
        tuple(
            Measurement(
                subnet=s.name,
                sparsity=s.sparsity,
                accuracy=s.accuracy,
                engine=ENGINE,
                batch_size=1,
                p50=p50,
                p95=1.4 * p50,
                p99=1.5 * p50,
                chosen=True,
            )
            for s in spec.subnets
            for p50 in [seconds[s.name]]
        ),
    )


@dataclass
class Load:
    cpu_utilization: float = 0.25
    gpus: tuple[Gpu, ...] = ()


@dataclass
class Queue:
    queued: int = 0
    in_flight: int = 0
    slowdown: float = 1.0
    serving: bool = True


@dataclass
class ScriptedBackend:
    """Answers every request at once with the same logits, or raises, or keeps it waiting.

    The pinned sub-net answers, or else the first. requests: what was submitted. inlines: for each, whether
    it might be run inline. waiting: the futures of requests that are kept.
    """

    manifest: Manifest = field(default_factory=manifest)
    logits: tuple[float, ...] = (0.0, 2.0, 1.0)
    error: Exception | None = None
    keep: bool = False
    scheduler: Queue = field(default_factory=Queue)
    load: Load = field(default_factory=Load)
    requests: list[Request] = field(default_factory=list)
    inlines: list[bool] = field(default_factory=list)
    waiting: list[Future[Answer]] = field(default_factory=list)
    closed: float | None = None

    @property
    def profile(self) -> Profile:
        return profile(self.manifest)

    def submit(self, request: Request, *, inline: bool = False) -> Future[Answer]:
        self.requests.append(request)
        self.inlines.append(inline)
        if self.error is not None:
            raise self.error
        future: Future[Answer] = Future()
        point = self.manifest.point(request.subnet or "s50")
        outputs = np.tile(np.array(self.logits, np.float32), (request.examples, 1))
        answer = Answer(
            outputs=outputs,
            point=point,
            engine=ENGINE,
            queue_seconds=0.0015,
            compute_seconds=0.004,
            batch_size=request.examples,
            late=False,
        )
        if self.keep:
            self.waiting.append(future)
        else:
            future.set_result(answer)
        return future

    def close(self, drain_seconds: float) -> None:
        self.closed = drain_seconds


@dataclass
class Served:
    """An application, what stands behind it, and a client in front of it."""

    backend: ScriptedBackend
    catalog: Catalog
    metrics: Metrics
    client: httpx2.AsyncClient
    app: Any

    def count(self, name: str, **labels: str) -> float | None:
        """The value of a metric's sample, None where there is no such series."""
        return self.metrics.registry.get_sample_value(name, labels)


@asynccontextmanager
async def serving(
    backend: ScriptedBackend | None = None,
    *,
    ready: bool = True,
    request_log: RequestLog | None = None,
    **settings: Any,
) -> AsyncIterator[Served]:
    """The application serving `backend` as model `pets`, and a client that calls it without a network."""
    backend = backend or ScriptedBackend()
    metrics, catalog = Metrics(CollectorRegistry()), Catalog([MODEL])
    if ready:
        metrics.announce(MODEL, backend.manifest, [ENGINE])
        metrics.watch(backend)
        catalog.publish(MODEL, backend)
    app = create_app(catalog, metrics, Settings(**settings), request_log=request_log)
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://server") as client,
    ):
        yield Served(backend, catalog, metrics, client, app)


async def until(condition: Callable[[], object]) -> None:
    """Give way to other tasks until the condition holds."""
    async with asyncio.timeout(60):  # a generous bound
        while not condition():  # noqa: ASYNC110  nobody could set an event for an arbitrary condition
            await asyncio.sleep(0.001)


def tensor(**changes: Any) -> dict[str, Any]:
    """A valid V2 request for one example whose values are 0 to 11, with the input's fields changed."""
    values = [float(value) for value in range(PIXELS)]
    return {
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 3, 2, 2], "data": values} | changes]
    }
