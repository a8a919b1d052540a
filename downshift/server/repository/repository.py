"""Loads, hot-swaps and unloads the catalog's models; a replaced version drains and is then closed."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from downshift.models.errors import ModelsError
from downshift.runtime.errors import Draining, RuntimeFault
from downshift.server.errors import BadInput, BadSetting, LoadFailed, UnknownModel
from downshift.server.repository.gc_freeze import collect_and_freeze
from downshift.server.repository.source import Source
from downshift.server.repository.watching import file_changes, fingerprint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from downshift.runtime.profiling.profiler import Progress
    from downshift.server.catalog import Catalog, Model
    from downshift.server.repository.loading import Load, Loaded
    from downshift.server.repository.source import Folder
    from downshift.server.repository.watching import Fingerprint
    from downshift.server.telemetry.metrics import Metrics

log = logging.getLogger("downshift.server")

UNLOADED = "unloaded"


@dataclass(frozen=True)
class Entry:
    """What the index says about a model; `reason` is empty for one that is READY."""

    name: str
    version: str
    state: str
    reason: str


class Repository:
    """Loads, hot-swaps and unloads the models of a catalog; called on the event loop, except `start`.

    One artifact is prepared at a time, since preparing measures latencies; served versions keep answering
    meanwhile. A version that cannot be prepared or fails its self-check changes nothing.
    """

    def __init__(  # noqa: PLR0913 - what it connects
        self,
        catalog: Catalog,
        metrics: Metrics,
        sources: Iterable[Source],
        load: Load,
        *,
        folder: Folder | None = None,
        drain_seconds: float,
        exclusive: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """folder: its artifacts may be loaded by name. drain_seconds: how long a retired version drains.

        exclusive: entered while an artifact is prepared; waits where other processes prepare theirs.
        """
        self._catalog = catalog
        self._metrics = metrics
        self._sources = {source.name: source for source in sources}
        self._load = load
        self._folder = folder
        self._drain_seconds = drain_seconds
        self._exclusive = exclusive
        self._measuring = threading.Lock()  # held while an artifact is prepared, since it is measured
        self._changing = asyncio.Lock()  # held while a load or unload is applied
        self._loading: set[str] = set()
        self._problems: dict[str, str] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._fingerprints: dict[str, Fingerprint] = {}  # of the files as they were last read
        self._paths_changed = asyncio.Event()  # the set of watched paths has changed

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every model that was requested at start or later, and its file."""
        return tuple(self._sources.values())

    @property
    def index(self) -> tuple[Entry, ...]:
        """Every model that is served or could be loaded by name."""
        served = {model.name: model for model in self._catalog.served}
        found = self._folder.sources() if self._folder is not None else ()
        names = dict.fromkeys((*self._sources, *(source.name for source in found)))
        refused = self._folder.refused() if self._folder is not None else {}
        return (
            *(self._entry(name, served.get(name)) for name in names),
            *(Entry(name, "", "UNAVAILABLE", reason) for name, reason in refused.items()),
        )

    def start(self, report: Progress) -> None:
        """Load every source in turn on the calling thread; each is served as soon as it is ready.

        Raises the error of the first that cannot be loaded.
        """
        for name, reason in (self._folder.refused() if self._folder is not None else {}).items():
            log.warning("model %s is not offered: %s", name, reason)
        with self._measuring, self._exclusive():
            for source in self.sources:
                self._fingerprints[source.name] = fingerprint(source.path)
                loaded = self._load(source, report)
                collect_and_freeze()
                self._metrics.watch(loaded.backend)
                self._catalog.publish(source.name, loaded.backend, loaded.statistics)

    async def load(self, name: str, path: str | None = None) -> Model:
        """Read the model's file again, or the one at that path in the folder, and serve it from then on.

        Raises `UnknownModel`, `BadInput` for a path that is not allowed, `LoadFailed` for an artifact that is
        not fit to serve, `Draining`.
        """
        source = self._wanted(name, path)
        async with self._changing:
            await self._retired()
            self._loading.add(name)
            self._fingerprints[name] = fingerprint(source.path)
            try:
                loaded = await _on_a_daemon_thread(partial(self._load_in_background, source))
            except Exception as error:
                raise self._failed(source, error) from error
            finally:
                self._loading.discard(name)
            if self._catalog.draining:
                await asyncio.to_thread(loaded.backend.close, 0.0)
                raise Draining
            self._sources[name] = source
            self._paths_changed.set()
            self._problems.pop(name, None)
            self._metrics.watch(loaded.backend)
            before = self._catalog.publish(name, loaded.backend, loaded.statistics)
            model = self._catalog.get(name)
            log.warning("model %s: version %s is served now, from %s", name, model.version, source.path)
            self._retire(before)
            return model

    async def unload(self, name: str) -> None:
        """Unload the model; accepted requests are still answered. Raises `UnknownModel`."""
        if name not in self._sources:
            raise UnknownModel(name, self._sources)
        async with self._changing:
            before = self._catalog.withdraw(name)
            self._problems[name] = UNLOADED
            if before is not None:
                self._metrics.forget_artifact(name)
                log.warning("model %s: version %s is unloaded", name, before.version)
            self._retire(before)

    async def load_changed(self) -> None:
        """Reload every served model whose file has changed since it was read."""
        for model in self._catalog.served:
            now = fingerprint(self._sources[model.name].path)
            if now is not None and now != self._fingerprints.get(model.name):
                with suppress(LoadFailed, Draining):  # both are logged
                    await self.load(model.name)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Within, reload every served model when its file changes."""
        task = asyncio.create_task(self._catalog.supervisor.run("watch", self._watch))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """Wait until every retired version has drained and is closed."""
        await self._retired()

    def _entry(self, name: str, model: Model | None) -> Entry:
        problem = self._problems.get(name, "")
        if model is not None:
            return Entry(name, model.version, "READY", problem and f"the last load failed: {problem}")
        if name in self._loading or (name in self._sources and not problem):
            return Entry(name, "", "LOADING", "")
        return Entry(name, "", "UNAVAILABLE", problem or "not loaded")

    def _wanted(self, name: str, path: str | None) -> Source:
        if path is not None:
            if self._folder is None:
                raise BadInput("path: this server has no model folder; start it with --repository FOLDER")
            try:
                return Source(name, self._folder.file(path))
            except BadSetting as error:
                raise BadInput(str(error)) from None
        known = {source.name: source for source in (self._folder.sources() if self._folder else ())}
        known |= self._sources
        if name not in known:
            raise UnknownModel(name, known)
        return known[name]

    def _load_in_background(self, source: Source) -> Loaded:
        def report(_fraction: float, _text: str) -> None:
            if self._catalog.draining:  # the result would be discarded
                raise Draining

        with self._measuring, self._exclusive():
            return self._load(source, report)

    def _failed(self, source: Source, error: Exception) -> Exception:
        """The error for the client; also logged, and kept for the index."""
        if isinstance(error, Draining):
            return Draining()
        ours = isinstance(error, ModelsError | RuntimeFault | OSError)
        sentence = _sentence(source.path, error) if ours else "unexpected error; the server's log has it"
        serving = next((model.version for model in self._catalog.served if model.name == source.name), None)
        goes_on = f"version {serving} is still served" if serving else "nothing is served under this name"
        log.error(
            "model %s is not loaded, %s: %s", source.name, goes_on, sentence, exc_info=None if ours else error
        )
        self._problems[source.name] = sentence
        return LoadFailed(f"model {source.name!r} is not loaded, {goes_on}: {sentence}")

    def _retire(self, model: Model | None) -> None:
        if model is not None:
            task = asyncio.create_task(self._close(model))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _close(self, model: Model) -> None:
        try:
            async with asyncio.timeout(self._drain_seconds):
                await model.references.released()
        except TimeoutError:
            log.warning("model %s: version %s is closed before its last request", model.name, model.version)
        await asyncio.to_thread(model.backend.close, self._drain_seconds)
        self._metrics.unwatch(model.backend)
        del model
        await asyncio.to_thread(collect_and_freeze)

    async def _watch(self) -> None:
        while True:
            self._paths_changed.clear()
            await self.load_changed()  # what changed while nobody watched
            async for _ in file_changes([source.path for source in self.sources], self._paths_changed):
                await self.load_changed()

    async def _retired(self) -> None:
        await asyncio.gather(*self._retiring)


def _sentence(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{path.name} cannot be read: {error.strerror or error}"
    return " ".join(
        str(error).replace(str(path), path.name).split()
    )  # our folder names do not leave the server


async def _on_a_daemon_thread(call: Callable[[], Any]) -> Any:
    """The call's result or exception; run on a daemon thread, so that process exit does not wait for it."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 - raised again where it is awaited
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="downshift-load-model", daemon=True).start()
    return await asyncio.wrap_future(future)
