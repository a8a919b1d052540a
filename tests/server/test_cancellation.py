"""Requests of clients that hang up while they wait: with the real scheduler, none of them is executed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2
import numpy as np

from downshift.runtime.deployment import Deployment
from downshift.runtime.engines.programs import Programs
from downshift.runtime.preparation import Prepared
from tests.server.doubles import ENGINE, PIXELS, manifest, profile, tensor
from tests.server.listening import listening, post, status, wait_for

if TYPE_CHECKING:
    from downshift.runtime.request import FloatArray

CLIENTS = 500


@dataclass
class Gate:
    """A program that computes nothing while it is closed, and remembers the first value of every example."""

    engine: str = ENGINE
    open: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    executed: list[float] = field(default_factory=list)

    def run(self, batch: FloatArray, /) -> FloatArray:
        self.entered.set()
        assert self.open.wait(60)
        self.executed += batch[:, 0, 0, 0].tolist()
        return np.zeros((len(batch), 3), np.float32)


def body(mark: float) -> bytes:
    """A request whose first value is `mark`."""
    return httpx2.Request("POST", "http://x", json=tensor(data=[mark, *[0.0] * (PIXELS - 1)])).content


def test_none_of_them_is_executed() -> None:
    gate, spec = Gate(), manifest()
    programs = Programs({name: {ENGINE: gate} for name in spec.names}, {ENGINE: "1"}, (), 1)
    deployment = Deployment(Prepared(spec, programs, profile(spec)))
    with listening(deployment, max_queue=CLIENTS + 1) as served:
        first = served.connect()
        first.sendall(post(body(-1.0)))
        assert gate.entered.wait(60)
        waiting = [served.connect() for _ in range(CLIENTS)]
        for mark, connection in enumerate(waiting):
            connection.sendall(post(body(float(mark))))
        wait_for(lambda: deployment.scheduler.queued == CLIENTS)
        staying = waiting[:: CLIENTS // 5]
        for connection in waiting:
            if connection not in staying:
                connection.close()
        wait_for(lambda: deployment.scheduler.queued == len(staying))
        gate.open.set()
        for connection in (first, *staying):
            assert status(connection.recv(65536)) == 200
            connection.close()
        assert status(served.ask(post(body(-2.0), headers="Connection: close\r\n"))) == 200
    marks = [float(mark) for mark in range(0, CLIENTS, CLIENTS // 5)]
    assert sorted(gate.executed) == [-2.0, -1.0, *marks]
