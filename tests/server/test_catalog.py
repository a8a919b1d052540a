from __future__ import annotations

import asyncio

import pytest

from downshift.runtime.errors import Draining
from downshift.runtime.supervisor import Supervisor
from downshift.server.catalog import Catalog
from downshift.server.errors import NotReady, UnknownModel
from downshift.server.statistics import Statistics
from tests.server.doubles import ScriptedBackend


def test_the_first_model_answers_when_none_is_named() -> None:
    catalog = Catalog(["a", "b"])
    backends = {name: ScriptedBackend() for name in ("b", "a")}
    for name, backend in backends.items():
        catalog.publish(name, backend)
    assert catalog.names == ("a", "b")
    model = catalog.get()
    assert (model.name, model.version, model.backend) == ("a", "1", backends["a"])
    assert catalog.get("b", "1").backend is backends["b"]


def test_served_is_what_answers_already() -> None:
    catalog, statistics = Catalog(["a", "b"]), Statistics()
    assert catalog.served == ()
    catalog.publish("b", ScriptedBackend(), statistics)
    assert [model.statistics for model in catalog.served] == [statistics]


def test_it_is_ready_when_every_model_is() -> None:
    catalog = Catalog(["a", "b"])
    catalog.publish("a", ScriptedBackend())
    assert not catalog.ready
    with pytest.raises(NotReady, match="'b' is still being profiled"):
        catalog.get("b")
    catalog.publish("b", ScriptedBackend())
    assert catalog.ready


@pytest.mark.parametrize(("name", "version"), [("c", None), ("a", "2"), ("", None), ("a", "01")])
def test_what_is_not_served_is_named_with_what_is(name: str, version: str | None) -> None:
    catalog = Catalog(["a"])
    catalog.publish("a", ScriptedBackend())
    with pytest.raises(UnknownModel, match="choose one of a"):
        catalog.get(name, version)


def test_a_draining_catalog_admits_nothing_and_still_describes_its_models() -> None:
    catalog = Catalog(["a"])
    catalog.publish("a", ScriptedBackend())
    catalog.drain()
    with pytest.raises(Draining):
        catalog.admit("a")
    assert catalog.get("a").name == "a"
    assert not catalog.ready


def test_the_next_version_answers_from_the_moment_it_is_published() -> None:
    catalog, first, second = Catalog(["a"]), ScriptedBackend(), ScriptedBackend()
    assert catalog.publish("a", first) is None
    old = catalog.admit("a")
    assert catalog.publish("a", second) is old
    assert (catalog.get("a").version, catalog.get("a").backend) == ("2", second)
    assert catalog.get("a", "2").backend is second
    with pytest.raises(UnknownModel, match="choose one of a:2"):
        catalog.get("a", "1")
    assert first.closed is None


async def test_a_version_is_in_use_until_the_last_request_has_left() -> None:
    catalog = Catalog()
    catalog.publish("a", ScriptedBackend())
    model = catalog.admit("a")
    await model.references.released()
    with model.references:
        with model.references:
            leaving = asyncio.create_task(model.references.released())
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not leaving.done()
    await leaving


def test_it_is_busy_while_any_version_answers() -> None:
    catalog = Catalog()
    catalog.publish("a", ScriptedBackend())
    model = catalog.admit("a")
    assert not catalog.busy
    with model.references:
        catalog.publish("a", ScriptedBackend())
        assert catalog.busy
    assert not catalog.busy


def test_a_withdrawn_model_is_unknown_until_it_is_published_again() -> None:
    catalog = Catalog(["a", "b"])
    backends = {name: ScriptedBackend() for name in ("a", "b")}
    for name, backend in backends.items():
        catalog.publish(name, backend)
    gone = catalog.withdraw("a")
    assert gone is not None
    assert gone.backend is backends["a"]
    assert catalog.names == ("b",)
    assert catalog.ready
    assert catalog.get().name == "b"
    with pytest.raises(UnknownModel, match="choose one of b"):
        catalog.get("a")
    catalog.withdraw("b")
    with pytest.raises(UnknownModel, match="until a model is loaded"):
        catalog.get()
    assert catalog.withdraw("b") is None
    assert catalog.withdraw("never heard of") is None
    catalog.publish("a", backends["a"])
    assert (catalog.get().name, catalog.get().version) == ("a", "2")


def test_it_is_dead_when_an_execution_thread_has_ended_by_itself() -> None:
    catalog, backend = Catalog(["a"]), ScriptedBackend()
    assert catalog.alive
    catalog.publish("a", backend)
    assert catalog.alive
    backend.scheduler.serving = False
    assert not catalog.alive
    assert not catalog.ready
    catalog.drain()
    assert catalog.alive


def test_a_model_nobody_announced_can_be_published() -> None:
    catalog = Catalog(["a"])
    catalog.publish("a", ScriptedBackend())
    catalog.publish("new", ScriptedBackend())
    assert catalog.names == ("a", "new")
    assert catalog.get("new").version == "1"


def test_it_is_dead_when_a_background_worker_has_ended_by_itself() -> None:
    class Watched(Supervisor):
        alive = True

    supervisor = Watched()
    catalog = Catalog(["a"], supervisor)
    catalog.publish("a", ScriptedBackend())
    assert catalog.alive
    supervisor.alive = False
    assert not catalog.alive
    assert catalog.ready, "requests are answered as long as nobody ends the process"
    catalog.drain()
    assert catalog.alive


def test_closing_reaches_every_model_that_is_loaded() -> None:
    catalog, backend = Catalog(["a", "b"]), ScriptedBackend()
    catalog.publish("a", backend)
    catalog.close(5.0)
    assert backend.closed == 5.0
