"""The models this server holds: announced by name at once, answered for as soon as they are ready."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from runtime.errors import Draining
from server.errors import NotReady, UnknownModel
from server.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from models.spec import Manifest
    from runtime.load import LoadSource
    from runtime.profile import Profile
    from runtime.request import Answer, Request

FIRST_VERSION = "1"


class Queue(Protocol):
    """How a backend's scheduler is doing."""

    @property
    def queued(self) -> int:
        """Requests waiting now."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests being executed now."""
        ...

    @property
    def serving(self) -> bool:
        """Requests are accepted and will be executed."""
        ...


class Backend(Protocol):
    """What answers for a model; `runtime.deployment.Deployment` is the real one."""

    @property
    def scheduler(self) -> Queue:
        """Its queue."""
        ...

    @property
    def load(self) -> LoadSource:
        """The load of the machine it runs on."""
        ...

    @property
    def manifest(self) -> Manifest:
        """What the artifact says about itself."""
        ...

    @property
    def profile(self) -> Profile:
        """What its sub-nets cost on this machine."""
        ...

    def submit(self, request: Request) -> Future[Answer]:
        """Queue a request; raises a `RuntimeFault` or `UnknownName` for one that is refused."""
        ...

    def close(self, drain_seconds: float) -> None:
        """Refuse new requests, finish the queued ones within that time, release everything."""
        ...


@dataclass(frozen=True)
class Model:
    """One served model; `version` is a numeric string, as V2 clients want it.

    statistics: what it has answered; its backend's observer.
    """

    name: str
    version: str
    backend: Backend
    statistics: Statistics = field(default_factory=Statistics)


class Catalog:
    """Models by name; the first is the one that answers when none is named.

    Owned by the event loop's thread, but for `publish`, which another thread may call.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._models: dict[str, Model | None] = dict.fromkeys(names)
        self._draining = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every model's name, ready or not."""
        return tuple(self._models)

    @property
    def ready(self) -> bool:
        """Every model can execute requests and the server is not shutting down."""
        models = self._models.values()
        return not self._draining and all(model and model.backend.scheduler.serving for model in models)

    @property
    def served(self) -> tuple[Model, ...]:
        """Every model that answers requests."""
        return tuple(model for model in tuple(self._models.values()) if model is not None)

    def publish(self, name: str, backend: Backend, statistics: Statistics | None = None) -> None:
        """The named model answers from now on; `statistics` observes its backend."""
        self._models[name] = Model(name, FIRST_VERSION, backend, statistics or Statistics())

    def get(self, name: str | None = None, version: str | None = None) -> Model:
        """The named model, or the first; raises `UnknownModel` or `NotReady`."""
        wanted = next(iter(self._models)) if name is None else name
        if wanted not in self._models:
            raise UnknownModel(wanted, self._models)
        model = self._models[wanted]
        if model is None:
            raise NotReady(f"model {wanted!r} is still being profiled on this machine: try again shortly")
        if version is not None and version != model.version:
            raise UnknownModel(f"{wanted}:{version}", [f"{wanted}:{model.version}"])
        return model

    def admit(self, name: str | None = None, version: str | None = None) -> Model:
        """As `get`, for a request to execute; raises `Draining` once the server is shutting down."""
        if self._draining:
            raise Draining
        return self.get(name, version)

    def drain(self) -> None:
        """Admit nothing more; what was submitted goes on."""
        self._draining = True

    def close(self, drain_seconds: float) -> None:
        """Close every model, each finishing its queue within that time."""
        self.drain()
        for model in self._models.values():
            if model is not None:
                model.backend.close(drain_seconds)
