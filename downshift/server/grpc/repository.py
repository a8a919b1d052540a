"""The methods of `inference.GRPCInferenceService` that load and unload models, an extension of Triton's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from downshift.server.grpc import inference_pb2 as pb
from downshift.server.grpc.calls import Reply
from downshift.server.grpc.messages import parse, values
from downshift.server.repository.control import authorise, entries, load_model, unload_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from downshift.server.connection.keys import Keys
    from downshift.server.grpc.calls import Unary
    from downshift.server.repository.repository import Repository


class RepositoryService:
    """Each method takes a request and its serialised message, and returns a reply.

    admins: whose keys may load and unload; without any, nobody may.
    """

    def __init__(self, repository: Repository, admins: Keys) -> None:
        self._repository, self._admins = repository, admins

    @property
    def methods(self) -> Mapping[str, Unary]:
        """By the protocol's names."""
        return {
            "RepositoryIndex": self.index,
            "RepositoryModelLoad": self.load,
            "RepositoryModelUnload": self.unload,
        }

    async def index(self, request: Request, message: bytes) -> Reply:  # noqa: ARG002
        """Every model, and whether it is READY, LOADING or UNAVAILABLE and why."""
        asked = parse(pb.RepositoryIndexRequest, message)
        models = [
            pb.RepositoryIndexResponse.ModelIndex(**entry)
            for entry in entries(self._repository, ready=asked.ready)
        ]
        return Reply(pb.RepositoryIndexResponse(models=models).SerializeToString())

    async def load(self, request: Request, message: bytes) -> Reply:
        """Read the model's file again, or the parameter `path` in the model folder, and switch to it."""
        authorise(self._admins, request.headers.raw)
        asked = parse(pb.RepositoryModelLoadRequest, message)
        await load_model(self._repository, asked.model_name, values(asked.parameters))
        return Reply(pb.RepositoryModelLoadResponse().SerializeToString())

    async def unload(self, request: Request, message: bytes) -> Reply:
        """Serve the model no more; what it was asked is answered."""
        authorise(self._admins, request.headers.raw)
        asked = parse(pb.RepositoryModelUnloadRequest, message)
        await unload_model(self._repository, asked.model_name, values(asked.parameters))
        return Reply(pb.RepositoryModelUnloadResponse().SerializeToString())
