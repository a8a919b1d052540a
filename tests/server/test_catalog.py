from __future__ import annotations

import pytest

from runtime.errors import Draining
from server.catalog import Catalog
from server.errors import NotReady, UnknownModel
from server.statistics import Statistics
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


def test_closing_reaches_every_model_that_is_loaded() -> None:
    catalog, backend = Catalog(["a", "b"]), ScriptedBackend()
    catalog.publish("a", backend)
    catalog.close(5.0)
    assert backend.closed == 5.0
