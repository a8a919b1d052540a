from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psutil

from runtime.load import CpuLoad

if TYPE_CHECKING:
    import pytest


def test_samples_are_ratios_taken_on_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([0.0, 55.0, 101.0])
    samplers: set[int] = set()
    done = threading.Event()

    def cpu_percent() -> float:
        samplers.add(threading.get_ident())
        try:
            return next(readings)
        except StopIteration:
            done.set()
            return 25.0

    monkeypatch.setattr(psutil, "cpu_percent", cpu_percent)
    load = CpuLoad(period=0.001)
    assert load.cpu_utilization == 0.0
    load.start()
    assert done.wait(30)
    load.close()
    assert load.cpu_utilization == 0.25
    assert samplers.isdisjoint({threading.get_ident()})


def test_what_was_never_started_can_be_closed() -> None:
    CpuLoad().close()
