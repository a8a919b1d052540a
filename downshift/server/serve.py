"""Running the server: listen at once, load and profile meanwhile, drain on SIGTERM and Ctrl-C, then end."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import nullcontext, suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, values

from downshift.errors import DownshiftError
from downshift.models.images.reader import warm_up
from downshift.runtime.cpu import CpuMeter
from downshift.runtime.errors import Draining
from downshift.runtime.machine import usable_cores
from downshift.runtime.supervisor import Supervisor
from downshift.server.app import create_app
from downshift.server.catalog import Catalog
from downshift.server.connection.listener import Ports, address, allow_files, listen_beside, url
from downshift.server.connection.probe import expose
from downshift.server.errors import BadSetting
from downshift.server.http_server import Server
from downshift.server.operator import NullOperator, Operator, Unfailing
from downshift.server.processes.cores import shares
from downshift.server.processes.manager import ProcessManager
from downshift.server.processes.peers import Peers, peers_folder
from downshift.server.processes.worker import Worker
from downshift.server.repository.loading import DeploymentLoad
from downshift.server.repository.repository import Repository
from downshift.server.repository.source import Folder, read_sources
from downshift.server.settings import read_settings
from downshift.server.standard_streams import flush_standard_streams, open_standard_streams
from downshift.server.telemetry.access_log import AccessLog
from downshift.server.telemetry.exposition import Exposition
from downshift.server.telemetry.json_log import log_as_json
from downshift.server.telemetry.metrics import Metrics, software_version
from downshift.server.telemetry.request_log import RequestLog
from downshift.server.telemetry.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from downshift.runtime.profiling.profiler import Progress
    from downshift.server.grpc.server import GrpcServer
    from downshift.server.repository.source import Source
    from downshift.server.settings import Settings
    from downshift.server.telemetry.request_log import Sink

log = logging.getLogger("downshift.server")

LOADER_SECONDS = 10.0  # for what is being prepared when a server ends
SWITCH_SECONDS = 5e-4
"""How long a thread may keep another from Python, a tenth of what is usual: the event loop would make a batch
that has ended, and whoever starts the next one, wait that long."""


class Loader(threading.Thread):
    """Prepares the artifact while the server already listens; a failure stops the server."""

    def __init__(self, steps: Iterable[Callable[[], None]], server: Server) -> None:
        super().__init__(name="downshift-load-model", daemon=True)
        self._steps = tuple(steps)
        self._server = server
        self.error: Exception | None = None

    def run(self) -> None:
        """Load, or keep the error for whoever started the server."""
        try:
            for step in self._steps:
                step()
        except Exception as error:  # noqa: BLE001  raised again on the main thread
            self.error = error
            self._server.should_exit = True


def run(*models: str | Path, operator: Operator | None = None, **overrides: Any) -> None:
    """Serve these artifacts until SIGTERM or SIGINT, then answer what is queued and end.

    models: `PATH`, to be called like the file, or `NAME=PATH`; the first answers where none is named. Without
    any, every artifact in the repository's folder. operator: told of progress, the URL and tuning; by default
    nobody is; one of several workers is sent a pickled copy. overrides: fields of `Settings` (host, port,
    threads...), before those of the environment; None counts as not given. Several workers are spawned: a
    script that calls this does so below `if __name__ == "__main__":`.

    Raises `BadSetting` (for a port in use, too), whatever `downshift.runtime.preparation.prepare` raises, and
    `KeyboardInterrupt` after Ctrl-C has drained it, so that a shell sees what ended it.
    """
    open_standard_streams()
    settings, operator = read_settings(**overrides), Unfailing(operator or NullOperator())
    alone = settings.workers == 1
    try:
        with Ports.open(
            settings.host, settings.port, settings.metrics_port, settings.grpc_port, shared=not alone
        ) as ports:
            if alone:
                serve(models, settings, operator, ports)
            else:
                serve_by_workers(models, settings, operator, ports)
    finally:
        flush_standard_streams()


def serve_by_workers(
    models: Sequence[str | Path], settings: Settings, operator: Operator, ports: Ports
) -> None:
    """Serve by several processes, of which this one is the manager; see `run`."""
    if threading.current_thread() is not threading.main_thread():
        raise BadSetting(
            f"--workers {settings.workers}: their manager takes signals, so run it on the main thread"
        )
    if settings.admins:
        raise BadSetting(
            f"--workers {settings.workers} with administrators' keys: a model that a client loads would be "
            "loaded by one worker alone; replace its file and send SIGHUP, or serve by one process"
        )
    cores = shares(settings.workers)
    if cores is None and settings.threads is None:
        settings = settings.model_copy(update={"threads": max(1, usable_cores() // settings.workers)})
    spawn = get_context("spawn")
    with peers_folder() as folder:
        peers = Peers(folder, settings.workers)

        def make(index: int, reports: Connection, *, joins: bool) -> BaseProcess:
            worker = Worker(
                index=index, peers=peers, ports=ports, pinned=cores is not None, joins=joins, reports=reports
            )
            told = operator if index == 0 else Unfailing(NullOperator())
            return spawn.Process(target=work, args=(worker, models, settings, told))

        ProcessManager(
            settings.workers, make, peers.alive, cores=cores, drain_seconds=settings.drain_seconds
        ).run()


def work(worker: Worker, models: Sequence[str | Path], settings: Settings, operator: Operator) -> None:
    """All that a worker process does.

    It ends without Python's finalisation: gRPC's threads call Python, and crash where that is gone.
    """
    worker.detach()
    status = 0
    try:
        serve(models, settings, operator, worker.ports, worker)
    except Exception as error:
        if not isinstance(error, DownshiftError | OSError):
            log.exception("worker process %d ends", worker.index)
        worker.failed(error)
        status = 1
    flush_standard_streams()
    os._exit(status)


def serve(
    models: Sequence[str | Path],
    settings: Settings,
    operator: Operator,
    ports: Ports,
    worker: Worker | None = None,
) -> None:
    """Serve in this process, alone or as that worker; see `run`."""
    sys.setswitchinterval(SWITCH_SECONDS)
    values.ValueClass = values.MutexValue  # one process: PROMETHEUS_MULTIPROC_DIR is not for it
    folder, sources = _models(models, settings)
    supervisor, registry = Supervisor(), CollectorRegistry()
    exposed = None if worker is None else Totals(worker.peers.told)
    metrics = Metrics(registry, supervisor=supervisor, exposed=exposed)
    catalog = Catalog((source.name for source in sources), supervisor)
    # What other workers use of the cgroup's time says nothing about cores that this one has for itself.
    pinned = worker is not None and worker.pinned
    cpu = partial(CpuMeter, own=time.process_time) if pinned else CpuMeter
    repository = Repository(
        catalog,
        metrics,
        sources,
        DeploymentLoad(metrics, settings, operator, cpu),
        folder=folder,
        drain_seconds=settings.drain_seconds,
        exclusive=nullcontext if worker is None else worker.preparing,
    )
    request_log = RequestLog(sinks(settings), supervisor=supervisor)
    if settings.log_json:
        log_as_json()
    app = create_app(catalog, metrics, settings, repository, request_log)
    rpc = None
    if ports.grpc is not None:
        rpc = grpc_server(
            address(ports.grpc),
            catalog=catalog,
            metrics=metrics,
            settings=settings,
            repository=repository,
            request_log=request_log,
            reloader=app.state.reloader,
            keys=app.state.keys,
            version=software_version(),
        )
    server = Server(app, catalog, settings, rpc, managed=worker is not None)

    def prepare() -> None:
        warm_up()
        with operator.loading() as report, suppress(Draining):
            repository.start(partial(_unless_draining, catalog, report))

    def announce() -> None:
        server.answering.wait()
        if catalog.draining or server.should_exit:
            return
        if worker is not None:
            worker.ready()
        operator.ready(
            url(ports.http, settings.ssl_certfile is not None),
            sample_picture(sources[0].path),
            None if rpc is None else rpc.address,
        )

    if worker is not None:
        own = Exposition(registry, rest=lambda _: None, supervisor=supervisor)
        expose(catalog, own, worker.peers.listen(worker.index), "peers", supervisor)
    joins = worker is not None and worker.joins
    if joins:
        prepare()  # the others answer meanwhile
    listening = (lambda each: each) if worker is None else listen_beside
    if ports.metrics is not None:
        expose(catalog, metrics.exposition, listening(ports.metrics), "metrics-port", supervisor)
    allow_files(settings.max_connections)
    loader = Loader([announce] if joins else [prepare, announce], server)
    loader.start()
    server.run(sockets=[listening(ports.http)])
    server.answering.set()
    loader.join(LOADER_SECONDS)  # a thread that computes while Python ends takes the process down
    if loader.error is not None:
        raise loader.error
    if server.interrupted:
        raise KeyboardInterrupt


def _models(models: Sequence[str | Path], settings: Settings) -> tuple[Folder | None, tuple[Source, ...]]:
    """The repository's folder, if there is one, and what to serve at first; raises `BadSetting`."""
    folder = None if settings.repository is None else Folder(settings.repository)
    if folder is not None and not folder.path.is_dir():
        raise BadSetting(f"--repository {folder.path} is no folder: create it, or name another")
    sources = read_sources(models) or (() if folder is None else folder.sources())
    if not sources:
        remedy = "name a file" if folder is None else f"name a file or put one into {folder.path}"
        raise BadSetting(f"no model to serve: {remedy}")
    return folder, tuple(sources)


def _unless_draining(catalog: Catalog, report: Progress, fraction: float, text: str) -> None:
    """Pass progress on; raises `Draining` when nobody waits for what is loaded."""
    if catalog.draining:
        raise Draining
    report(fraction, text)


def grpc_server(address: str, **arguments: Any) -> GrpcServer:
    """See `GrpcServer`; raises `BadSetting` where gRPC is not installed."""
    try:
        from downshift.server.grpc.server import GrpcServer  # noqa: PLC0415  an extra
    except ImportError as error:
        raise BadSetting(f"gRPC is not installed ({error.name}): pip install 'downshift[grpc]'") from None
    return GrpcServer(address, **arguments)


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
