"""The methods of `inference.GRPCInferenceService` that tell about models, and that ask them."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]

from downshift.runtime.errors import RuntimeFault
from downshift.server.connection.arrival import unix_arrival
from downshift.server.demand import read_demand
from downshift.server.errors import BadInput, ClientGone, ServerFault, row_of
from downshift.server.grpc import inference_pb2 as pb
from downshift.server.grpc.calls import Reply
from downshift.server.grpc.infer_messages import read_message, write_message
from downshift.server.grpc.messages import parse
from downshift.server.inference import admitted, infer, reading
from downshift.server.statistics import model_stats
from downshift.server.v2.description import model_config, model_metadata, server_metadata
from downshift.server.v2.infer_request import LONG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from downshift.server.catalog import Catalog, Model
    from downshift.server.grpc.calls import Unary
    from downshift.server.inference import Report
    from downshift.server.settings import Settings
    from downshift.server.telemetry.metrics import Metrics
    from downshift.server.v2.infer_request import InferRequest


class InferenceService:
    """Each method takes a request and its serialised message, and returns a reply."""

    def __init__(self, catalog: Catalog, metrics: Metrics, settings: Settings, version: str) -> None:
        """version: of this server."""
        self._catalog, self._metrics, self._version = catalog, metrics, version
        self._max_batch, self._max_budget = settings.max_batch, settings.max_budget

    @property
    def methods(self) -> Mapping[str, Unary]:
        """By the protocol's names."""
        return {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelConfig": self.model_config,
            "ModelStatistics": self.model_statistics,
            "ModelInfer": self.model_infer,
        }

    async def server_live(self, request: Request, message: bytes) -> Reply:  # noqa: ARG002
        """Every model's execution thread is alive."""
        return Reply(pb.ServerLiveResponse(live=self._catalog.alive).SerializeToString())

    async def server_ready(self, request: Request, message: bytes) -> Reply:  # noqa: ARG002
        """Every model answers, and the server is not shutting down."""
        return Reply(pb.ServerReadyResponse(ready=self._catalog.ready).SerializeToString())

    async def model_ready(self, request: Request, message: bytes) -> Reply:  # noqa: ARG002
        """This model answers infer requests; one that is unknown does not."""
        asked = parse(pb.ModelReadyRequest, message)
        try:
            self._catalog.admit(asked.name, asked.version or None)
        except (ServerFault, RuntimeFault):
            return Reply(pb.ModelReadyResponse(ready=False).SerializeToString())
        return Reply(pb.ModelReadyResponse(ready=True).SerializeToString())

    async def server_metadata(self, request: Request, message: bytes) -> Reply:  # noqa: ARG002
        """Name, version and protocol extensions of this server."""
        told = server_metadata(self._version)
        return Reply(pb.ServerMetadataResponse(**told).SerializeToString())

    async def model_metadata(self, request: Request, message: bytes) -> Reply:  # noqa: ARG002
        """Inputs and outputs of a model."""
        model = self._model(parse(pb.ModelMetadataRequest, message))
        told = ParseDict(model_metadata(model), pb.ModelMetadataResponse(), ignore_unknown_fields=True)
        return Reply(told.SerializeToString())

    async def model_config(self, request: Request, message: bytes) -> Reply:  # noqa: ARG002
        """A model's configuration, as Triton has it."""
        told = {"config": model_config(self._model(parse(pb.ModelConfigRequest, message)), self._max_batch)}
        reply = ParseDict(told, pb.ModelConfigResponse(), ignore_unknown_fields=True)
        return Reply(reply.SerializeToString())

    async def model_statistics(self, request: Request, message: bytes) -> Reply:  # noqa: ARG002
        """What one model has answered so far, or each of them where none is named."""
        asked = parse(pb.ModelStatisticsRequest, message)
        models = [self._model(asked)] if asked.name else self._catalog.served
        told = [model_stats(model.name, model.version, model.statistics.snapshot) for model in models]
        return Reply(ParseDict({"model_stats": told}, pb.ModelStatisticsResponse()).SerializeToString())

    async def model_infer(self, request: Request, message: bytes) -> Reply:
        """Classify a batch within the latency budget that deadline and metadata grant."""
        reply, report = await self._infer(request, message)
        return Reply(reply.SerializeToString(), report.headers)

    async def infer_in_stream(self, request: Request, message: bytes) -> Reply:
        """The same for a message of `ModelStreamInfer`: the one and only response to it."""
        reply, report = await self._infer(request, message)
        reply.parameters["triton_final_response"].bool_param = True
        return Reply(pb.ModelStreamInferResponse(infer_response=reply).SerializeToString(), report.headers)

    @staticmethod
    def refuse_in_stream(message: bytes, text: str) -> bytes:
        """The response of `ModelStreamInfer` to a message that is refused with that sentence."""
        refused = pb.ModelStreamInferResponse(error_message=text)
        with suppress(BadInput):
            refused.infer_response.id = parse(pb.ModelInferRequest, message).id
        return bytes(refused.SerializeToString())

    def _model(
        self, asked: pb.ModelMetadataRequest | pb.ModelConfigRequest | pb.ModelStatisticsRequest
    ) -> Model:
        return self._catalog.get(asked.name or None, asked.version or None)

    async def _infer(self, request: Request, message: bytes) -> tuple[pb.ModelInferResponse, Report]:
        began = time.perf_counter()
        try:
            asked = parse(pb.ModelInferRequest, message)
        except BadInput as error:  # for no model at all
            self._metrics.refused(row_of(error).outcome)
            raise
        name, version = asked.model_name or None, asked.model_version or None
        with admitted(self._catalog, self._metrics, name, version) as model:
            with reading(model, self._metrics):
                read = await self._read(asked, model, large=len(message) > LONG)
                arrived = partial(unix_arrival, request.scope)
                demand = read_demand(
                    request.headers.items(), self._max_budget, read.timeout, read.priority, arrived=arrived
                )
                done = time.perf_counter()
            report = await infer(request, model, read.inputs, demand, self._metrics)
            answered = time.perf_counter()
            reply = write_message(asked, read, model, report)
            model.statistics.coded(done - began, time.perf_counter() - answered)
            return reply, report

    async def _read(self, asked: pb.ModelInferRequest, model: Model, *, large: bool) -> InferRequest:
        arguments = asked, model.backend.manifest, self._max_batch
        if not large:
            return read_message(*arguments)
        try:
            return await asyncio.to_thread(read_message, *arguments)  # else it would block the event loop
        except asyncio.CancelledError:
            raise ClientGone("the client cancelled the call while it was read") from None
