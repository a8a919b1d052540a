"""Running the server: listen at once, load and profile meanwhile, drain on SIGTERM and Ctrl-C, then end."""

from __future__ import annotations

import asyncio
import math
import signal
import sys
import threading
import time
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from prometheus_client import CollectorRegistry, values

from downshift.models.images.reader import warm_up
from downshift.runtime.supervisor import Supervisor
from downshift.server.app import create_app
from downshift.server.catalog import Catalog
from downshift.server.connection.concurrency import ConcurrencyState
from downshift.server.connection.listener import allow_files, listen, url
from downshift.server.connection.probe import Probe
from downshift.server.connection.protocol import ConnectionLimits, HttpProtocol
from downshift.server.connection.tls import Certificate, TlsProtocol
from downshift.server.errors import BadSetting
from downshift.server.operator import NullOperator, Operator, Unfailing
from downshift.server.repository.loading import DeploymentLoad
from downshift.server.repository.repository import Repository
from downshift.server.repository.source import Folder, read_sources
from downshift.server.settings import read_settings
from downshift.server.standard_streams import flush_standard_streams, open_standard_streams
from downshift.server.telemetry.access_log import AccessLog
from downshift.server.telemetry.json_log import log_as_json
from downshift.server.telemetry.metrics import Metrics, software_version
from downshift.server.telemetry.request_log import RequestLog

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from types import FrameType

    from fastapi import FastAPI

    from downshift.server.grpc.server import GrpcServer
    from downshift.server.reload import Reloader
    from downshift.server.settings import Settings
    from downshift.server.telemetry.request_log import Sink

CLOSING_SECONDS = 2  # for connections that are still open when everything is answered
METRICS_CONNECTIONS = 64  # on the metrics' own port
LINGER_SECONDS = 1.0  # for requests that are on their way when everything accepted is answered
SWITCH_SECONDS = 5e-4
"""How long a thread may keep another from Python, a tenth of what is usual: the event loop would make a batch
that has ended, and whoever starts the next one, wait that long."""


class Server(uvicorn.Server):
    """uvicorn, which on the first signal goes on until every request that was accepted is answered.

    Meanwhile inference requests are refused by `catalog` with 503, and so is readiness. The second
    signal ends it at once.
    """

    def __init__(
        self, app: FastAPI, catalog: Catalog, settings: Settings, rpc: RpcListener | None = None
    ) -> None:
        """rpc: serves the same models over gRPC."""
        if settings.ssl_keyfile is not None and settings.ssl_certfile is None:
            raise BadSetting(
                f"--ssl-keyfile {settings.ssl_keyfile} has no certificate: name it with --ssl-certfile"
            )
        http: Callable[..., Any] = partial(HttpProtocol, limits=settings.connection_limits)
        reloader: Reloader = app.state.reloader
        if settings.ssl_certfile is not None:
            certificate = Certificate(settings.ssl_certfile, settings.ssl_keyfile)
            reloader.watch("TLS certificate", certificate.files, certificate.reload)
            http = partial(TlsProtocol, http=http, certificate=certificate, limits=settings.connection_limits)
        config = uvicorn.Config(
            app,
            http=http,  # type: ignore[arg-type]
            ws="none",
            workers=1,  # by default uvicorn reads WEB_CONCURRENCY, and fails where that is no number
            lifespan="on",
            timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type]
            timeout_graceful_shutdown=CLOSING_SECONDS,
            log_level="warning",
            access_log=False,
            server_header=False,
        )
        super().__init__(config)
        self._reloader = reloader
        self._rpc = rpc
        self.server_state: ConcurrencyState = ConcurrencyState()
        self._catalog = catalog
        self._drain_seconds = settings.drain_seconds
        self.interrupted = False
        self._give_up_at: float | None = None
        self._leave_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  uvicorn's
        """Begin to drain; asked again, end now."""
        if self._give_up_at is None:
            self.interrupted = sig == signal.SIGINT
            self._catalog.drain()
            self._give_up_at = time.monotonic() + self._drain_seconds
        else:
            self.should_exit = self.force_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Within, SIGTERM and SIGINT drain, and SIGHUP reloads unless it is ignored already (nohup)."""
        main = threading.current_thread() is threading.main_thread()
        with super().capture_signals():
            if not main or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
                yield
                return
            before = signal.signal(signal.SIGHUP, lambda *_: self._reloader.request())
            try:
                yield
            finally:
                signal.signal(signal.SIGHUP, before)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start gRPC, then as uvicorn does: once `started`, both answer."""
        if self._rpc is not None:
            await self._rpc.start(self.server_state)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End as uvicorn does, then close what is left below TLS: silent clients, and late close_notify."""
        if self._rpc is not None:
            await self._rpc.stop(0.0 if self.force_exit else LINGER_SECONDS)
        await super().shutdown(sockets)
        for each in tuple(self.server_state.tls_sockets):
            each.abort()
        for _ in range(100):
            if not self.server_state.tls_sockets:
                break
            await asyncio.sleep(0.01)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop serving."""
        if self._give_up_at is not None:
            now = time.monotonic()
            if self._leave_at is None and not self._catalog.busy:
                for server in self.servers:
                    server.close()  # nobody new; those who are here get an answer, and are told to leave
                self._leave_at = now + LINGER_SECONDS
            alone = self._leave_at is not None and not self.server_state.connections
            self.should_exit |= alone or now > min(self._leave_at or math.inf, self._give_up_at)
        return await super().on_tick(counter)


class RpcListener:
    """A gRPC server, and the port that is kept for it from the first moment on.

    Its library binds ports itself, and only in a running event loop: the reservation ends just before.
    """

    def __init__(self, server: GrpcServer, reserved: socket.socket) -> None:
        host, port = reserved.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._server, self._reserved = server, reserved

    async def start(self, state: ConcurrencyState) -> None:
        """Listen; raises `BadSetting` when somebody else has got the port."""
        self._reserved.close()
        await self._server.start(self.address, state)

    async def stop(self, grace: float) -> None:
        """Take no new calls, and end those in progress within that many seconds."""
        await self._server.stop(grace)


class Loader(threading.Thread):
    """Prepares the artifact while the server already listens; a failure stops the server."""

    def __init__(self, load: Callable[[], None], server: Server) -> None:
        super().__init__(name="downshift-load-model", daemon=True)
        self._load = load
        self._server = server
        self.error: Exception | None = None

    def run(self) -> None:
        """Load, or keep the error for whoever started the server."""
        try:
            self._load()
        except Exception as error:  # noqa: BLE001  raised again on the main thread
            self.error = error
            self._server.should_exit = True


def run(*models: str | Path, operator: Operator | None = None, **overrides: Any) -> None:
    """Serve these artifacts until SIGTERM or SIGINT, then answer what is queued and end.

    models: `PATH`, to be called like the file, or `NAME=PATH`; the first answers where none is named. Without
    any, every artifact in the repository's folder. operator: told of progress, the URL and tuning; by default
    nobody is. overrides: fields of `Settings` (host, port, threads...),
    before those of the environment; None counts as not given.

    Raises `BadSetting` (for a port in use, too), whatever `downshift.runtime.preparation.prepare` raises, and
    `KeyboardInterrupt` after Ctrl-C has drained it, so that a shell sees what ended it.
    """
    open_standard_streams()
    sys.setswitchinterval(SWITCH_SECONDS)
    values.ValueClass = values.MutexValue  # one process: PROMETHEUS_MULTIPROC_DIR is not for it
    settings, operator = read_settings(**overrides), Unfailing(operator or NullOperator())
    folder = None if settings.repository is None else Folder(settings.repository)
    if folder is not None and not folder.path.is_dir():
        raise BadSetting(f"--repository {folder.path} is no folder: create it, or name another")
    sources = read_sources(models) or (() if folder is None else folder.sources())
    if not sources:
        remedy = "name a file" if folder is None else f"name a file or put one into {folder.path}"
        raise BadSetting(f"no model to serve: {remedy}")
    supervisor = Supervisor()
    metrics = Metrics(CollectorRegistry(), supervisor=supervisor)
    catalog = Catalog((source.name for source in sources), supervisor)
    repository = Repository(
        catalog,
        metrics,
        sources,
        DeploymentLoad(metrics, settings, operator),
        folder=folder,
        drain_seconds=settings.drain_seconds,
    )
    request_log = RequestLog(sinks(settings), supervisor=supervisor)
    if settings.log_json:
        log_as_json()
    app = create_app(catalog, metrics, settings, repository, request_log)
    rpc = None
    if settings.grpc_port is not None:
        reserved = listen(settings.host, settings.grpc_port, option="--grpc-port")
        over_grpc = grpc_server(
            catalog=catalog,
            metrics=metrics,
            settings=settings,
            repository=repository,
            request_log=request_log,
            reloader=app.state.reloader,
            keys=app.state.keys,
            version=software_version(),
        )
        rpc = RpcListener(over_grpc, reserved)
    server = Server(app, catalog, settings, rpc)
    with closing(listen(settings.host, settings.port)) as listener:
        address = url(listener, settings.ssl_certfile is not None)

        def load() -> None:
            warm_up()
            with operator.loading() as report:
                repository.start(report)
            operator.ready(address, sample_picture(sources[0].path), None if rpc is None else rpc.address)

        if settings.metrics_port is not None:
            expose(catalog, metrics, settings.host, settings.metrics_port)
        allow_files(settings.max_connections)
        loader = Loader(load, server)
        loader.start()
        server.run(sockets=[listener])
    flush_standard_streams()
    if loader.error is not None:
        raise loader.error
    if server.interrupted:
        raise KeyboardInterrupt


def grpc_server(**arguments: Any) -> GrpcServer:
    """See `GrpcServer`; raises `BadSetting` where gRPC is not installed."""
    try:
        from downshift.server.grpc.server import GrpcServer  # noqa: PLC0415  an extra
    except ImportError as error:
        raise BadSetting(f"gRPC is not installed ({error.name}): pip install 'downshift[grpc]'") from None
    return GrpcServer(**arguments)


def sinks(settings: Settings) -> list[Sink]:
    """Where the settings want requests to be written; raises `BadSetting` where that cannot be."""
    found: list[Sink] = []
    if settings.access_log is not None:
        found.append(AccessLog(settings.access_log))
    if settings.otel:
        try:
            from downshift.server.telemetry.spans import Spans  # noqa: PLC0415  an extra
        except ImportError as error:
            raise BadSetting(
                f"OpenTelemetry is not installed ({error.name}): pip install 'downshift[otel]'"
            ) from None
        found.append(Spans())
    return found


def sample_picture(artifact: Path) -> Path:
    """The picture that lies beside an artifact under its name, or else a name that stands for one's own."""
    picture = artifact.with_suffix(".png")
    return picture if picture.is_file() else Path("picture.jpg")


def expose(catalog: Catalog, metrics: Metrics, host: str, port: int) -> socket.socket:
    """Serve metrics and health from a loop and a port of their own; returns what listens there.

    The process that ends takes them along. Raises `BadSetting` when there can be no such port.
    """
    listener = listen(host, port, option="--metrics-port")
    config = uvicorn.Config(
        Probe(catalog, metrics.exposition),
        http=partial(HttpProtocol, limits=ConnectionLimits(METRICS_CONNECTIONS)),  # type: ignore[arg-type]
        ws="none",
        workers=1,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
    )

    def serve_metrics() -> None:
        uvicorn.Server(config).run([listener.dup()])  # a server that ends closes what it was given

    metrics.supervisor.start("metrics-port", serve_metrics)
    return listener
