"""Replacing models while they are served: what is loaded, when it is switched, who is asked."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from downshift.models.errors import ArtifactError
from downshift.runtime.errors import Draining
from downshift.server.app import create_app
from downshift.server.catalog import Catalog
from downshift.server.errors import BadInput, LoadFailed, UnknownModel
from downshift.server.repository.loading import Loaded
from downshift.server.repository.repository import Entry, Repository
from downshift.server.repository.source import Folder, Source
from downshift.server.repository.watching import file_changes
from downshift.server.settings import Settings
from downshift.server.telemetry.metrics import Metrics
from tests.server.doubles import ENGINE, MODEL, ScriptedBackend, manifest, tensor, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from downshift.runtime.profiling.profiler import Progress

KEY = "the-admins-key"
ADMIN = {"Authorization": f"Bearer {KEY}"}


@dataclass
class ScriptedLoad:
    """Hands out a new scripted backend each time, or raises; waits before, while `hold` is set.

    made: the backends. asked: the paths. accepting: what backends answer with.
    """

    metrics: Metrics
    error: Exception | None = None
    hold: threading.Event | None = None
    made: list[ScriptedBackend] = field(default_factory=list)
    asked: list[Path] = field(default_factory=list)

    def __call__(self, source: Source, report: Progress) -> Loaded:
        self.asked.append(source.path)
        report(0.0, "reading")
        if self.hold is not None:
            assert self.hold.wait(60)
        report(0.5, "measuring")
        if self.error is not None:
            raise self.error
        backend = ScriptedBackend(logits=(float(len(self.made)), -1.0, -2.0))
        self.metrics.announce(source.name, manifest(sha256=f"{len(self.made):064x}"), [ENGINE])
        self.made.append(backend)
        return Loaded(backend)


@dataclass
class Scene:
    """A repository that has served model `pets` from `pets.onnx` since its start, and a client."""

    catalog: Catalog
    metrics: Metrics
    load: ScriptedLoad
    repository: Repository
    client: httpx2.AsyncClient

    async def ask(self) -> tuple[str, float]:
        """Which version answers now, and its first logit."""
        response = await self.client.post(f"/v2/models/{MODEL}/infer", json=tensor())
        response.raise_for_status()
        answer = response.json()
        return answer["model_version"], answer["outputs"][0]["data"][0]

    async def change(self, action: str, name: str = MODEL, **request: Any) -> httpx2.Response:
        return await self.client.post(
            f"/v2/repository/models/{name}/{action}", headers=ADMIN, timeout=None, **request
        )


@asynccontextmanager
async def scene(folder: Path, *, offered: bool = False, **settings: Any) -> AsyncIterator[Scene]:
    """offered: `folder` is a model folder."""
    metrics, source = Metrics(CollectorRegistry()), Source(MODEL, folder / "pets.onnx")
    source.path.touch()
    catalog, load = Catalog([MODEL]), ScriptedLoad(metrics)
    repository = Repository(
        catalog, metrics, [source], load, folder=Folder(folder) if offered else None, drain_seconds=20
    )
    repository.start(lambda *_: None)
    app = create_app(catalog, metrics, Settings(**({"admin_keys": KEY} | settings)), repository)
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://server") as client,
    ):
        yield Scene(catalog, metrics, load, repository, client)


async def test_start_serves_every_source_and_stops_at_the_first_that_cannot_be(tmp_path: Path) -> None:
    metrics = Metrics(CollectorRegistry())
    sources = [Source(name, tmp_path / name) for name in ("a", "b")]
    catalog, load = Catalog(["a", "b"]), ScriptedLoad(metrics)
    Repository(catalog, metrics, sources, load, drain_seconds=1).start(lambda *_: None)
    assert [catalog.get(name).backend for name in ("a", "b")] == load.made
    assert [path.name for path in load.asked] == ["a", "b"]
    load.error = ArtifactError("graph", "is not there")
    with pytest.raises(ArtifactError):
        Repository(catalog, metrics, sources, load, drain_seconds=1).start(lambda *_: None)
    assert [path.name for path in load.asked] == ["a", "b", "a"]
    assert len(load.made) == 2


async def test_the_next_version_is_loaded_beside_the_one_that_answers(tmp_path: Path) -> None:
    async with scene(tmp_path) as served:
        served.load.hold = threading.Event()
        loading = asyncio.create_task(served.change("load"))
        await until(lambda: len(served.load.asked) == 2)
        assert await served.ask() == ("1", 0.0)
        assert served.catalog.ready
        served.load.hold.set()
        response = await loading
        assert (response.status_code, response.json()) == (200, {"name": MODEL, "version": "2"})
        assert await served.ask() == ("2", 1.0)
        await until(lambda: served.load.made[0].closed is not None)
        assert served.load.made[1].closed is None
        assert served.metrics.registry.get_sample_value(
            "downshift_artifact_info", {"model": MODEL, "network": "scripted", "sha256": f"{1:064x}"}
        )
        assert not served.metrics.registry.get_sample_value(
            "downshift_artifact_info", {"model": MODEL, "network": "scripted", "sha256": f"{0:064x}"}
        )


async def test_a_version_is_closed_only_when_its_last_request_is_answered(tmp_path: Path) -> None:
    async with scene(tmp_path) as served:
        first = served.load.made[0]
        first.keep = True
        asking = asyncio.create_task(served.ask())
        await until(lambda: first.waiting)
        await served.change("load")
        assert await served.ask() == ("2", 1.0)
        assert first.closed is None
        first.keep = False
        first.waiting[0].set_result(first.submit(first.requests[0]).result())
        assert await asking == ("1", 0.0)
        await until(lambda: first.closed is not None)


async def test_a_client_is_not_told_in_which_folder_a_model_lies(tmp_path: Path) -> None:
    async with scene(tmp_path) as served:
        file = served.repository.sources[0].path
        served.load.error = ArtifactError("graph", "is cut off", str(file))
        response = await served.change("load")
        assert f": {file.name}: artifact graph: is cut off" in response.json()["error"]
        assert str(file.parent) not in response.text + str(served.repository.index)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ArtifactError("graph", "is cut off"), "cut off"),
        (FileNotFoundError(2, "No such file or directory", "pets.onnx"), "pets.onnx cannot be read: No such"),
        (ZeroDivisionError("secret"), "unexpected error; the server's log has it"),
    ],
)
async def test_a_version_that_cannot_be_loaded_changes_nothing(
    tmp_path: Path, error: Exception, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene(tmp_path) as served:
        served.load.error = error
        response = await served.change("load")
        assert response.status_code == 400
        text = response.json()["error"]
        assert "model 'pets' is not loaded, version 1 is still served: " in text
        assert sentence in text
        assert "secret" not in text
        assert "is not loaded" in caplog.text
        assert await served.ask() == ("1", 0.0)
        assert served.load.made[0].closed is None
        [entry] = served.repository.index
        assert (entry.state, entry.version) == ("READY", "1")
        assert sentence in entry.reason
        served.load.error = None
        assert (await served.change("load")).json()["version"] == "2"
        assert served.repository.index == (Entry(MODEL, "2", "READY", ""),)


async def test_unloading_and_loading_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as served:
        response = await served.change("unload", json={"parameters": {"unload_dependents": False}})
        assert response.status_code == 200
        await until(lambda: served.load.made[0].closed is not None)
        refused = await served.client.post(f"/v2/models/{MODEL}/infer", json=tensor())
        assert refused.status_code == 404
        assert served.repository.index == (Entry(MODEL, "", "UNAVAILABLE", "unloaded"),)
        index = (await served.client.post("/v2/repository/index", json={"ready": True})).json()
        assert index == []
        ready = await served.client.get("/v2/health/ready")
        assert ready.status_code == 200
        assert (await served.change("load")).status_code == 200
        assert (await served.ask())[0] == "2"


async def test_loads_take_turns_and_no_more_than_two_versions_exist(tmp_path: Path) -> None:
    async with scene(tmp_path) as served:
        responses = await asyncio.gather(*(served.change("load") for _ in range(5)))
        assert sorted(response.json()["version"] for response in responses) == ["2", "3", "4", "5", "6"]
        open_ones = [backend for backend in served.load.made if backend.closed is None]
        assert len(open_ones) <= 2
        assert (await served.ask())[0] == "6"


async def test_a_load_ends_when_the_server_shuts_down(tmp_path: Path) -> None:
    async with scene(tmp_path) as served:
        served.load.hold = threading.Event()
        loading = asyncio.create_task(served.change("load"))
        await until(lambda: len(served.load.asked) == 2)
        served.catalog.drain()
        served.load.hold.set()
        assert (await loading).status_code == 503
        assert len(served.load.made) == 1


async def test_a_version_that_is_ready_too_late_is_closed(tmp_path: Path) -> None:
    async with scene(tmp_path) as served:
        made = served.load.made

        def load(source: Source, report: Progress) -> Loaded:
            loaded = ScriptedLoad.__call__(served.load, source, report)
            served.catalog.drain()
            return loaded

        served.repository._load = load
        with pytest.raises(Draining):
            await served.repository.load(MODEL)
        assert made[1].closed == 0.0


async def test_models_of_the_folder_can_be_loaded_by_name_and_by_path(tmp_path: Path) -> None:
    for file in ("extra.onnx", "pets-v2.onnx"):
        (tmp_path / file).touch()
    async with scene(tmp_path, offered=True) as served:
        names = {entry.name: entry.state for entry in served.repository.index}
        assert names == {"pets": "READY", "extra": "UNAVAILABLE", "pets-v2": "UNAVAILABLE"}
        assert (await served.change("load", "extra")).json() == {"name": "extra", "version": "1"}
        assert served.catalog.get("extra").backend is served.load.made[1]
        parameters = {"parameters": {"path": "pets-v2.onnx"}}
        assert (await served.change("load", json=parameters)).json()["version"] == "2"
        assert served.load.asked[-1] == tmp_path / "pets-v2.onnx"
        await served.change("load")
        assert served.load.asked[-1] == tmp_path / "pets-v2.onnx"
        outside = await served.change("load", json={"parameters": {"path": "../pets.onnx"}})
        assert outside.status_code == 400
        assert "inside" in outside.json()["error"]


async def test_without_a_folder_only_the_models_own_file_is_read(tmp_path: Path) -> None:
    async with scene(tmp_path) as served:
        (tmp_path / "other.onnx").touch()
        with pytest.raises(BadInput, match="--repository"):
            await served.repository.load(MODEL, "other.onnx")
        with pytest.raises(UnknownModel):
            await served.repository.load("other")
        with pytest.raises(UnknownModel):
            await served.repository.unload("other")
        assert len(served.load.asked) == 1


async def test_only_who_holds_the_key_may_change_anything(tmp_path: Path) -> None:
    async with scene(tmp_path) as served:
        for action in ("load", "unload"):
            for headers in ({}, {"X-API-Key": "wrong-key"}, {"Authorization": f"Basic {KEY}"}):
                url = f"/v2/repository/models/{MODEL}/{action}"
                response = await served.client.post(url, headers=headers)
                assert response.status_code == 401
        assert len(served.load.asked) == 1
        url = f"/v2/repository/models/{MODEL}/load"
        assert (await served.client.post(url, headers={"X-API-Key": KEY})).status_code == 200


async def test_without_a_key_nobody_may_change_anything_and_anybody_may_look(tmp_path: Path) -> None:
    async with scene(tmp_path, admin_keys="") as served:
        for action in ("load", "unload"):
            response = await served.change(action)
            assert response.status_code == 403
            assert "DOWNSHIFT_ADMIN_KEYS" in response.json()["error"]
        index = await served.client.post("/v2/repository/index")
        assert index.json() == [{"name": MODEL, "version": "1", "state": "READY", "reason": ""}]


@pytest.mark.parametrize(
    ("action", "body", "sentence"),
    [
        ("load", b"{", "not JSON"),
        ("load", b"[]", "no JSON object"),
        ("load", b'{"parameters": 3}', "send an object"),
        ("load", b'{"parameters": {"path": 3}}', "give a text"),
        ("load", b'{"parameters": {"config": "{}"}}', "parameters.config: not supported"),
        ("load", b'{"parameters": {"file:1/model.onnx": "AA=="}}', "not supported"),
        ("unload", b'{"parameters": {"path": "x"}}', "not supported"),
    ],
)
async def test_nonsense_is_refused(tmp_path: Path, action: str, body: bytes, sentence: str) -> None:
    async with scene(tmp_path, offered=True) as served:
        response = await served.change(action, content=body)
        assert response.status_code == 400
        assert sentence in response.json()["error"]
        odd = await served.client.post("/v2/repository/index", json={"ready": "yes"})
        assert odd.status_code == 400
        assert len(served.load.asked) == 1


async def test_a_changed_file_is_loaded_again_and_a_failure_waits_for_the_next_change(tmp_path: Path) -> None:
    async with scene(tmp_path) as served:
        file = tmp_path / "pets.onnx"
        await served.repository.load_changed()
        assert len(served.load.asked) == 1
        file.write_bytes(b"half")
        served.load.error = ArtifactError("graph", "is cut off")
        await served.repository.load_changed()
        await served.repository.load_changed()
        assert len(served.load.asked) == 2
        assert (await served.ask())[0] == "1"
        served.load.error = None
        file.write_bytes(b"whole")
        await served.repository.load_changed()
        assert (await served.ask())[0] == "2"
        file.unlink()
        await served.repository.load_changed()
        await served.repository.unload(MODEL)
        file.write_bytes(b"another")
        await served.repository.load_changed()
        assert len(served.load.asked) == 3


async def test_watching_notices_a_file_that_is_replaced(tmp_path: Path) -> None:
    async with scene(tmp_path, watch=True) as served:
        other = tmp_path / "new"
        for size in range(1, 2000):  # until the watcher, which needs a moment to begin, has seen one
            other.write_bytes(bytes(size))
            other.rename(tmp_path / "pets.onnx")
            if len(served.load.made) > 1:
                break
            await asyncio.sleep(0.01)
        await until(lambda: served.catalog.get(MODEL).version != "1")


async def test_watching_goes_on_after_a_failure_and_loads_what_changed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([OSError(24, "Too many open files"), OSError(28, "inotify watch limit reached")])

    async def failing(paths: Iterable[Path], moved: asyncio.Event) -> AsyncIterator[None]:
        if (error := next(failures, None)) is not None:
            (tmp_path / "pets.onnx").write_bytes(b"another")
            raise error
        async for each in file_changes(paths, moved):
            yield each

    monkeypatch.setattr("downshift.server.repository.repository.file_changes", failing)
    async with scene(tmp_path, watch=True) as served:
        await until(lambda: served.catalog.get(MODEL).version != "1")
        [health] = [each for each in served.catalog.supervisor.health if each.name == "watch"]
        assert health.errors >= 1
        assert health.alive


async def test_failures_name_the_model_when_nothing_is_served(tmp_path: Path) -> None:
    async with scene(tmp_path) as served:
        await served.repository.unload(MODEL)
        served.load.error = ArtifactError("graph", "is cut off")
        with pytest.raises(LoadFailed, match="nothing is served under this name"):
            await served.repository.load(MODEL)
        assert served.repository.index[0].state == "UNAVAILABLE"
