from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry

from downshift.runtime.supervisor import Supervisor
from downshift.server.telemetry.worker_metrics import WorkerMetrics
from tests.server.listening import wait_for


def test_every_worker_that_was_started_has_its_errors_and_its_health() -> None:
    supervisor, registry = Supervisor(retry=0.001), CollectorRegistry()
    registry.register(WorkerMetrics(supervisor))
    again = threading.Event()
    failures = iter([OSError(24, "Too many open files")])

    def work() -> None:
        if (error := next(failures, None)) is not None:
            raise error
        again.set()

    worker = supervisor.start("load", work, period=0.001)
    assert again.wait(60)
    labels = {"worker": "load"}
    assert registry.get_sample_value("downshift_background_errors_total", labels) == 1
    assert registry.get_sample_value("downshift_background_healthy", labels) == 1
    worker.close()


def test_one_that_fails_again_and_again_is_unhealthy() -> None:
    supervisor, registry = Supervisor(retry=3600.0), CollectorRegistry()
    registry.register(WorkerMetrics(supervisor))
    failed = threading.Event()

    def work() -> None:
        failed.set()
        raise OSError(24, "Too many open files")

    worker = supervisor.start("load", work)
    assert failed.wait(60)
    healthy = ("downshift_background_healthy", {"worker": "load"})
    wait_for(lambda: registry.get_sample_value(*healthy) == 0)  # once it has been counted
    worker.close()
