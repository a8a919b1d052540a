"""The HTTP server: uvicorn, which drains, reloads on SIGHUP and starts gRPC beside itself."""

from __future__ import annotations

import asyncio
import math
import signal
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn

from downshift.server.connection.concurrency import ConcurrencyState
from downshift.server.connection.protocol import HttpProtocol
from downshift.server.connection.tls import Certificate, TlsProtocol
from downshift.server.errors import BadSetting

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from types import FrameType

    from fastapi import FastAPI

    from downshift.server.catalog import Catalog
    from downshift.server.grpc.server import GrpcServer
    from downshift.server.reload import Reloader
    from downshift.server.settings import Settings

CLOSING_SECONDS = 2  # for connections that are still open when everything is answered
LINGER_SECONDS = 1.0  # for requests that are on their way when everything accepted is answered


class Server(uvicorn.Server):
    """uvicorn, which on the first signal goes on until every request that was accepted is answered.

    Meanwhile inference requests are refused by `catalog` with 503, and so is readiness. The second
    signal ends it at once.
    """

    def __init__(
        self,
        app: FastAPI,
        catalog: Catalog,
        settings: Settings,
        rpc: GrpcServer | None = None,
        *,
        managed: bool = False,
    ) -> None:
        """rpc: serves the same models over gRPC.

        managed: SIGTERM may come twice, from the manager and from whoever ends all processes of a service;
        only SIGINT ends a drain.
        """
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
            log_config=None,  # whoever runs the server has its own
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
        self._managed = managed
        self.interrupted = False
        self.answering = threading.Event()
        self._give_up_at: float | None = None
        self._leave_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  uvicorn's
        """Begin to drain; asked again, end now."""
        if self._give_up_at is not None and self._managed and sig == signal.SIGTERM:
            return
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
        self.answering.set()

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
