from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from downshift.server.telemetry.exposition import OPENMETRICS, PLAIN, Exposition, choose
from tests.server.doubles import serving, tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric


class Gate(Collector):
    """A metric whose value is how often it was read; reading waits until the gate is open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.reads = 0

    def collect(self) -> Iterator[Metric]:
        self.reads += 1
        reads = self.reads
        self.entered.set()
        assert self.open.wait(60)
        yield GaugeMetricFamily("reads", "so far", reads)


@pytest.fixture
def gate() -> Gate:
    return Gate()


def registered(gate: Gate) -> Exposition:
    gate.open.set()  # registering reads it
    registry = CollectorRegistry(auto_describe=False)
    registry.register(gate)
    gate.reads, gate.entered = 0, threading.Event()
    gate.open.clear()
    return Exposition(registry, rest=lambda _: None)


def test_whoever_asks_while_a_text_is_written_shares_the_next_one(gate: Gate) -> None:
    """So every answer is younger than its question, and a storm of a hundred costs two texts."""
    metrics = registered(gate)
    first = metrics.text(PLAIN)
    assert gate.entered.wait(60)
    storm = [metrics.text(PLAIN) for _ in range(99)]
    gate.open.set()
    assert b"reads 1.0" in first.result(60)
    assert {future.result(60) for future in storm} == {storm[0].result()}
    assert b"reads 2.0" in storm[0].result()
    assert gate.reads == 2


def test_one_who_gives_up_takes_nothing_from_the_others(gate: Gate) -> None:
    metrics = registered(gate)

    async def scene() -> bytes:
        leaving = asyncio.ensure_future(metrics.response(""))
        staying = asyncio.ensure_future(metrics.response(""))
        await asyncio.to_thread(gate.entered.wait, 10)
        leaving.cancel()
        gate.open.set()
        return bytes((await staying).body)

    assert b"reads 1.0" in asyncio.run(scene())


async def test_a_scrape_that_takes_long_holds_up_nobody() -> None:
    gate = Gate()
    gate.open.set()
    async with serving() as served:
        served.metrics.registry.register(gate)
        gate.open.clear()
        scraping = asyncio.ensure_future(served.client.get("/metrics"))
        await asyncio.to_thread(gate.entered.wait, 10)
        assert (await served.client.post("/v2/models/pets/infer", json=tensor())).status_code == 200
        assert not scraping.done()
        gate.open.set()
        assert "reads" in (await scraping).text


def test_the_thread_rests_nine_times_as_long_as_it_works() -> None:
    class Slow(Collector):
        def collect(self) -> Iterator[Metric]:
            time.sleep(0.01)
            yield GaugeMetricFamily("fine", "now", 1)

    rests: list[float] = []
    registry = CollectorRegistry()
    registry.register(Slow())
    metrics = Exposition(registry, rest=rests.append)
    for form in (PLAIN, PLAIN, PLAIN, OPENMETRICS):
        metrics.text(form).result(60)
    assert len(rests) >= 3  # the last one may have just begun
    assert min(rests) >= 9 * 0.01


def test_an_error_reaches_whoever_asked_and_the_next_one_is_answered() -> None:
    class Broken(Collector):
        fails = False

        def collect(self) -> Iterator[Metric]:
            if self.fails:
                raise RuntimeError("broken")
            yield GaugeMetricFamily("fine", "now", 1)

    broken, registry = Broken(), CollectorRegistry()
    registry.register(broken)
    metrics = Exposition(registry, rest=lambda _: None)
    broken.fails = True
    with pytest.raises(RuntimeError, match="broken"):
        metrics.text(PLAIN).result(60)
    broken.fails = False
    assert b"fine 1.0" in metrics.text(PLAIN).result(60)


def test_where_the_system_refuses_a_thread_the_next_scrape_is_answered(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    metrics = registered(gate)
    gate.open.set()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            metrics.text(PLAIN)
    assert b"reads" in metrics.text(PLAIN).result(60)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("text/plain;version=0.0.4;q=0.5", PLAIN),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", OPENMETRICS),
        ("application/openmetrics-text;version=nonsense", OPENMETRICS),
    ],
)
def test_the_format_is_the_one_that_is_accepted(accept: str, form: object) -> None:
    assert choose(accept) is form
