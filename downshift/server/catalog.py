"""The registry of served models: names are known at start, versions are published when ready."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from downshift.runtime.errors import Draining
from downshift.runtime.supervisor import Supervisor
from downshift.server.demand import Delivery
from downshift.server.errors import NotReady, UnknownModel
from downshift.server.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future
    from types import TracebackType

    from downshift.models.spec import Manifest
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.request import Answer, Request
    from downshift.runtime.scheduling.load import LoadSource


class Queue(Protocol):
    """The state of a backend's scheduler."""

    @property
    def queued(self) -> int:
        """Requests waiting now."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests being executed now."""
        ...

    @property
    def slowdown(self) -> float:
        """The latency correction: present over profiled batch latency."""
        ...

    @property
    def serving(self) -> bool:
        """Requests are accepted and will be executed."""
        ...


class Backend(Protocol):
    """Executes a model's requests; implemented by `downshift.runtime.deployment.Deployment`."""

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
        """The artifact's manifest."""
        ...

    @property
    def profile(self) -> Profile:
        """The latency profile of its sub-nets on this machine."""
        ...

    def submit(self, request: Request, *, inline: bool = False) -> Future[Answer]:
        """Queue a request; raises a `RuntimeFault` or `UnknownName` if it is refused.

        inline: the event loop is otherwise idle, so a short request may run on its thread.
        """
        ...

    def close(self, drain_seconds: float) -> None:
        """Drain within that time, then release all resources."""
        ...


class ReferenceCount:
    """Reference count of the requests a version is answering, one `with` each. Owned by the event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._freed = asyncio.Event()

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count -= 1
        self._freed.set()

    @property
    def held(self) -> bool:
        """Whether the count is above zero."""
        return self._count > 0

    async def released(self) -> None:
        """Wait until the count is zero."""
        while self._count:
            self._freed.clear()
            await self._freed.wait()


@dataclass(frozen=True)
class Model:
    """One version of a served model; `version` is a numeric string, as the V2 protocol requires.

    statistics: its counters, an observer of the backend. references: requests that delay closing it.
    delivery: estimator of the time between answer and client.
    """

    name: str
    version: str
    backend: Backend
    statistics: Statistics = field(default_factory=Statistics)
    references: ReferenceCount = field(default_factory=ReferenceCount)
    delivery: Delivery = field(default_factory=Delivery)


class Catalog:
    """Models by name; the first is the default model.

    Owned by the event loop's thread, except `publish`, which is safe from any thread. delivery: shared by all
    models. supervisor: of the process's background workers.
    """

    def __init__(self, names: Iterable[str] = (), supervisor: Supervisor | None = None) -> None:
        self.supervisor = supervisor or Supervisor()
        self._models: dict[str, Model | None] = dict.fromkeys(names)
        self._withdrawn: frozenset[str] = frozenset()
        self._versions: dict[str, int] = {}
        self._references: WeakSet[ReferenceCount] = WeakSet()
        self.delivery = Delivery()
        self._draining = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all models, ready or not, except withdrawn ones."""
        return tuple(name for name in self._models if name not in self._withdrawn)

    @property
    def ready(self) -> bool:
        """Every model can execute requests, and the server is not draining."""
        models = [self._models[name] for name in self.names]
        return not self._draining and all(model and model.backend.scheduler.serving for model in models)

    @property
    def alive(self) -> bool:
        """Liveness: no execution thread and no background worker has died; True while draining."""
        return self._draining or (
            all(model.backend.scheduler.serving for model in self.served) and self.supervisor.alive
        )

    @property
    def draining(self) -> bool:
        """The server is shutting down."""
        return self._draining

    @property
    def busy(self) -> bool:
        """Whether any version, retired ones included, has requests in flight."""
        return any(count.held for count in self._references)

    @property
    def served(self) -> tuple[Model, ...]:
        """All models that are published."""
        return tuple(model for model in tuple(self._models.values()) if model is not None)

    def publish(self, name: str, backend: Backend, statistics: Statistics | None = None) -> Model | None:
        """Publish the named model's next version, with `statistics` as observer of its backend.

        Returns the previous version, which completes its requests. The switch is one atomic assignment: every
        request is admitted by exactly one version.
        """
        self._versions[name] = version = self._versions.get(name, 0) + 1
        before = self._models.get(name)
        model = Model(name, str(version), backend, statistics or Statistics(), delivery=self.delivery)
        self._references.add(model.references)
        self._models[name] = model
        self._withdrawn -= {name}
        return before

    def withdraw(self, name: str) -> Model | None:
        """Unpublish the named model; returns its last version. It is unknown until published again."""
        before = self._models.get(name)
        if name in self._models:
            self._models[name] = None
            self._withdrawn |= {name}
        return before

    def get(self, name: str | None = None, version: str | None = None) -> Model:
        """The named model, or the first; raises `UnknownModel` or `NotReady`."""
        wanted = next(iter(self.names), "") if name is None else name
        if wanted not in self._models or wanted in self._withdrawn:
            raise UnknownModel(wanted, self.names)
        model = self._models[wanted]
        if model is None:
            raise NotReady(f"model {wanted!r} is still being profiled on this machine: try again shortly")
        if version is not None and version != model.version:
            raise UnknownModel(f"{wanted}:{version}", [f"{wanted}:{model.version}"])
        return model

    def admit(self, name: str | None = None, version: str | None = None) -> Model:
        """As `get`, for a request to execute; raises `Draining` while the server is draining.

        The caller enters `with model.references` before its next `await`: the version could be closed there.
        """
        if self._draining:
            raise Draining
        return self.get(name, version)

    def drain(self) -> None:
        """Refuse new requests; submitted ones complete."""
        self._draining = True

    def close(self, drain_seconds: float) -> None:
        """Close all models in parallel, each draining its queue within that time."""
        self.drain()
        models = self.served
        with ThreadPoolExecutor(max(1, len(models)), thread_name_prefix="downshift-close") as pool:
            for _ in pool.map(lambda model: model.backend.close(drain_seconds), models):
                pass
