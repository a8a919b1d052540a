"""A real server on loopback, HTTP and gRPC in one event loop, around a scripted backend; and its client."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
from prometheus_client import CollectorRegistry

from downshift.server.app import create_app
from downshift.server.catalog import Catalog
from downshift.server.connection.listener import Ports, address
from downshift.server.grpc import inference_pb2 as pb
from downshift.server.grpc.server import SERVICE, GrpcServer
from downshift.server.http_server import Server
from downshift.server.settings import Settings
from downshift.server.telemetry.metrics import Metrics
from downshift.server.telemetry.request_log import RequestLog
from tests.server.doubles import ENGINE, MODEL, PIXELS, ScriptedBackend
from tests.server.listening import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from downshift.server.repository.repository import Repository
    from downshift.server.telemetry.request_log import RequestRecord

SECONDS = 30.0  # nothing here waits longer


class Kept:
    """A sink that keeps every record."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []

    def write(self, records: Sequence[RequestRecord], lost: int) -> None:
        self.records += records

    def close(self) -> None:
        pass


@dataclass
class Serving:
    """The server, what stands behind it, and its addresses."""

    server: Server
    thread: threading.Thread
    backend: ScriptedBackend
    catalog: Catalog
    metrics: Metrics
    log: Kept
    port: int
    address: str

    def client(self, credentials: grpc.ChannelCredentials | None = None) -> Client:
        """A client with a connection of its own."""
        return Client(self.address, credentials)

    def count(self, name: str, **labels: str) -> float | None:
        """The value of a metric's sample."""
        return self.metrics.registry.get_sample_value(name, labels)


class Client:
    """Calls methods by name, on one connection."""

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None) -> None:
        options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]  # else clients share one
        options += [("grpc.ssl_target_name_override", "localhost")] if credentials else []
        self.channel = (
            grpc.insecure_channel(address, options)
            if credentials is None
            else grpc.secure_channel(address, credentials, options)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def start(self, name: str, message: Any, *, timeout: float | None = SECONDS, **metadata: str) -> Any:
        """The call in progress; metadata: with _ for -."""
        method = self.channel.unary_unary(
            f"/{SERVICE}/{name}", lambda each: each if isinstance(each, bytes) else each.SerializeToString()
        )
        return method.future(message, timeout=timeout, metadata=_metadata(metadata))

    def ask(
        self, name: str, message: Any, *, timeout: float | None = SECONDS, **metadata: str
    ) -> tuple[bytes, dict[str, str]]:
        """The serialised reply and its trailing metadata."""
        call = self.start(name, message, timeout=timeout, **metadata)
        reply = call.result()
        return reply, dict(call.trailing_metadata())

    def infer(self, message: Any = None, **metadata: Any) -> tuple[Any, dict[str, str]]:
        """The parsed answer to an infer request, and its trailing metadata."""
        reply, beside = self.ask("ModelInfer", tensor() if message is None else message, **metadata)
        return pb.ModelInferResponse.FromString(reply), beside

    def refusal(self, name: str, message: Any, **options: Any) -> tuple[str, str, dict[str, str]]:
        """Code, sentence and metadata with which a call is refused."""
        try:
            self.ask(name, message, **options)
        except grpc.RpcError as error:
            call: Any = error
            return call.code().name, call.details(), dict(call.trailing_metadata() or ())
        raise AssertionError("it was answered")

    def stream(self, messages: Iterator[Any], **metadata: str) -> Iterator[Any]:
        """The responses of a stream."""
        method = self.channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            lambda each: each.SerializeToString(),
            pb.ModelStreamInferResponse.FromString,
        )
        found: Iterator[Any] = method(messages, timeout=SECONDS, metadata=_metadata(metadata))
        return found


def _metadata(given: dict[str, str]) -> list[tuple[str, str]]:
    return [(name.replace("_", "-"), value) for name, value in given.items()]


def tensor(raw: bool = True, **changes: Any) -> Any:
    """A valid request for one example whose values are 0 to 11, with fields of the message changed."""
    given = pb.ModelInferRequest.InferInputTensor(name="image", datatype="FP32", shape=[1, 3, 2, 2])
    fields: dict[str, Any] = {"model_name": MODEL, "inputs": [given]}
    values = [float(value) for value in range(PIXELS)]
    if raw:
        import numpy as np

        fields["raw_input_contents"] = [np.array(values, "<f4").tobytes()]
    else:
        given.contents.fp32_contents.extend(values)
    return pb.ModelInferRequest(**(fields | changes))


@contextmanager
def serving(
    backend: ScriptedBackend | None = None, *, repository: Repository | None = None, **settings: Any
) -> Iterator[Serving]:
    """Serve `backend` as model `pets`."""
    backend = backend or ScriptedBackend()
    catalog, chosen = Catalog([MODEL]), Settings(**({"drain_seconds": 20} | settings))
    metrics, log = Metrics(CollectorRegistry()), Kept()
    metrics.announce(MODEL, backend.manifest, [ENGINE])
    catalog.publish(MODEL, backend)
    request_log = RequestLog([log])
    app = create_app(catalog, metrics, chosen, repository, request_log)
    with Ports.open("127.0.0.1", 0, None, 0) as ports:
        assert ports.grpc is not None
        rpc = GrpcServer(
            address(ports.grpc),
            catalog=catalog,
            metrics=metrics,
            settings=chosen,
            repository=repository,
            request_log=request_log,
            reloader=app.state.reloader,
            keys=app.state.keys,
            version="1.2.3",
        )
        server = Server(app, catalog, chosen, rpc)
        port = ports.http.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([ports.http],))
        thread.start()
        try:
            wait_for(lambda: server.started)
            yield Serving(server, thread, backend, catalog, metrics, log, port, rpc.address)
        finally:
            server.should_exit = True
            thread.join()
