"""The gRPC server in the HTTP server's event loop: port, limits, TLS, health, reflection, drain."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from downshift.server.connection.tls import Certificate
from downshift.server.errors import BadSetting
from downshift.server.grpc import inference_pb2 as pb
from downshift.server.grpc.calls import Calls, Failure
from downshift.server.grpc.repository import RepositoryService
from downshift.server.grpc.service import InferenceService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from typing import Any

    from downshift.server.catalog import Catalog
    from downshift.server.connection.concurrency import ConcurrencyState
    from downshift.server.connection.keys import AccessKeys
    from downshift.server.grpc.calls import Unary
    from downshift.server.reload import Reloader
    from downshift.server.repository.repository import Repository
    from downshift.server.settings import Settings
    from downshift.server.telemetry.metrics import Metrics
    from downshift.server.telemetry.request_log import RequestLog

SERVICE: str = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
STREAM = f"/{SERVICE}/ModelStreamInfer"
KEYLESS = frozenset({f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady"})
FRAMING = 64 * 1024  # bytes of a message beside its tensor
STREAMS = 1024  # calls in progress on one connection
HEALTH_SECONDS = 0.1  # between two looks at the catalog's state


class Handlers(grpc.GenericRpcHandler):
    """Finds a call's handler, and stamps its arrival: it is asked before the call's message is read."""

    def __init__(self, calls: Calls, service: InferenceService, methods: Mapping[str, Unary]) -> None:
        """methods: by the protocol's names."""
        self._calls, self._service = calls, service
        self._methods = {f"/{SERVICE}/{name}": method for name, method in methods.items()}

    def service(self, handler_call_details: Any) -> Any:
        """The handler, of bytes; None for what is not implemented."""
        path: str = handler_call_details.method
        if path == STREAM:
            in_stream, refuse = self._service.infer_in_stream, self._service.refuse_in_stream
            answer = partial(self._calls.stream, in_stream, refuse, path=path)
            return grpc.stream_stream_rpc_method_handler(answer)
        if (method := self._methods.get(path)) is None:
            return None
        keyed = path not in KEYLESS
        return grpc.unary_unary_rpc_method_handler(
            partial(self._calls.unary, method, path=path, began=time.monotonic(), keyed=keyed)
        )


class KeyedReflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]  # the library has no types
    """Reflection of the services, for whoever has a key where keys are needed."""

    def __init__(self, calls: Calls) -> None:
        super().__init__([SERVICE, *_names(health_pb2), *_names(reflection_pb2)])
        self._calls = calls

    async def ServerReflectionInfo(  # noqa: N802  the protocol's name
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        """Describe what the client asks for."""
        try:
            self._calls.authenticate(context)
        except Failure as failure:
            await context.abort(failure.code, failure.text, failure.metadata)
        async for found in super().ServerReflectionInfo(request_iterator, context):
            yield found


class ReloadedCertificate:
    """The certificate and its key for new handshakes; raises `BadSetting` for files that cannot be used."""

    def __init__(self, settings: Settings) -> None:
        assert settings.ssl_certfile is not None  # noqa: S101  narrowing
        self._certificate = Certificate(settings.ssl_certfile, settings.ssl_keyfile)
        self._read()

    @property
    def files(self) -> tuple[Any, ...]:
        """Whose change calls for a `reload`."""
        return self._certificate.files

    @property
    def credentials(self) -> grpc.ServerCredentials:
        """For a port; every handshake asks for the present certificate."""
        return grpc.dynamic_ssl_server_credentials(self._configuration, lambda: self._configuration)

    def reload(self) -> None:
        """Use the files as they are now; raises `BadSetting` and keeps the old ones."""
        self._certificate.reload()
        self._read()

    def _read(self) -> None:
        certfile, keyfile = self.files[0], self.files[-1]
        pair = (keyfile.read_bytes(), certfile.read_bytes())
        self._configuration = grpc.ssl_server_certificate_configuration([pair])


class GrpcServer:
    """Starts and stops with the HTTP server, whose catalog, limits, keys and request log it shares.

    address: where it listens, as `host:port`.
    """

    def __init__(  # noqa: PLR0913 - what it connects
        self,
        address: str,
        *,
        catalog: Catalog,
        metrics: Metrics,
        settings: Settings,
        repository: Repository | None,
        request_log: RequestLog,
        reloader: Reloader,
        keys: AccessKeys,
        version: str,
    ) -> None:
        self.address = address
        self._catalog, self._settings, self._request_log = catalog, settings, request_log
        self._service = InferenceService(catalog, metrics, settings, version)
        self._methods = dict(self._service.methods)
        self._keys = keys.accepted
        if repository is not None:
            self._methods |= RepositoryService(repository, keys.admins).methods
        self._certificate = None if settings.ssl_certfile is None else ReloadedCertificate(settings)
        if self._certificate is not None:
            reloader.watch("TLS certificate for gRPC", self._certificate.files, self._certificate.reload)
        self._server: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()
        self._following: asyncio.Task[None] | None = None

    async def start(self, state: ConcurrencyState) -> None:
        """Listen; raises `BadSetting` where that cannot be."""
        server = grpc.aio.server(
            options=_options(self._settings), maximum_concurrent_rpcs=self._settings.max_connections
        )
        calls = Calls(self._keys, self._request_log, state)
        server.add_generic_rpc_handlers((Handlers(calls, self._service, self._methods),))
        add_HealthServicer_to_server(self._health, server)
        add_ServerReflectionServicer_to_server(KeyedReflection(calls), server)
        try:
            if self._certificate is None:
                server.add_insecure_port(self.address)
            else:
                server.add_secure_port(self.address, self._certificate.credentials)
        except RuntimeError:
            raise BadSetting(
                f"cannot listen on {self.address} for gRPC: choose another with --grpc-port"
            ) from None
        await self._tell_health()
        await server.start()
        self._server = server
        self._following = asyncio.create_task(self._catalog.supervisor.run("grpc-health", self._follow))

    async def stop(self, grace: float) -> None:
        """Take no new calls, and end those in progress within that many seconds."""
        if self._server is None:
            return
        assert self._following is not None  # noqa: S101  made together
        self._following.cancel()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)

    async def _follow(self) -> None:
        await asyncio.sleep(HEALTH_SECONDS)
        await self._tell_health()

    async def _tell_health(self) -> None:
        states = health_pb2.HealthCheckResponse
        now = states.SERVING if self._catalog.ready else states.NOT_SERVING
        for name in ("", SERVICE):
            await self._health.set(name, now)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 1),  # with whoever keeps the port, and with other workers
        ("grpc.max_receive_message_length", settings.max_body_bytes + FRAMING),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", settings.max_head_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_head_bytes),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.server_handshake_timeout_ms", round(settings.head_seconds * 1e3)),
        ("grpc.max_concurrent_streams", STREAMS),
        ("grpc.max_connection_idle_ms", round(settings.keep_alive_seconds * 1e3)),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]


def _names(module: Any) -> list[str]:
    return [service.full_name for service in module.DESCRIPTOR.services_by_name.values()]
