from __future__ import annotations

import threading

import psutil
import pytest

from downshift.runtime.scheduling.load import MachineLoad


def test_samples_are_ratios_taken_on_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([0.0, *[101.0] * 40])
    samplers: set[int] = set()
    done = threading.Event()

    def cpu_percent() -> float:
        samplers.add(threading.get_ident())
        try:
            return next(readings)
        except StopIteration:
            done.set()
            return 100.0

    monkeypatch.setattr(psutil, "cpu_percent", cpu_percent)
    load = MachineLoad(period=0.001)
    assert load.cpu_utilization == 0.0
    load.start()
    assert done.wait(30)
    load.close()
    assert load.cpu_utilization == pytest.approx(1.0), "smoothed, but 40 samples are enough"
    assert samplers.isdisjoint({threading.get_ident()})


def test_what_was_never_started_can_be_closed() -> None:
    MachineLoad().close()
