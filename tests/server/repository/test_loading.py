"""Loading artifacts for the server, with real programs; what a retired version leaves behind."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from downshift.models import artifact
from downshift.server.catalog import Catalog
from downshift.server.repository.loading import DeploymentLoad
from downshift.server.repository.repository import Repository
from downshift.server.repository.source import Source
from downshift.server.settings import Settings
from downshift.server.telemetry.metrics import Metrics
from tests.models.tiny_artifact import tiny_artifact
from tests.server.doubles import until

if TYPE_CHECKING:
    from pathlib import Path

RUNNERS = {"downshift-executor", "downshift-load"}


def runners() -> list[str]:
    """The threads that serving a version takes."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name in RUNNERS)


async def test_nothing_keeps_a_retired_version_alive(tmp_path: Path) -> None:
    path = tmp_path / "pets.onnx"
    artifact.write(path, tiny_artifact())
    metrics, catalog = Metrics(CollectorRegistry()), Catalog(["pets"])
    settings = Settings(cache_dir=tmp_path / "cache", engines=("sparse", "onnxruntime"), tune=False)
    load = DeploymentLoad(metrics, settings)
    others = runners()
    repository = Repository(catalog, metrics, [Source("pets", path)], load, drain_seconds=20)
    repository.start(lambda *_: None)
    serving = runners()
    assert len(serving) == len(others) + len(RUNNERS)
    retired: list[weakref.ref[object]] = []
    try:
        for _ in range(3):
            model = catalog.get("pets")
            retired += [weakref.ref(each) for each in (model, model.backend, model.statistics)]
            retired += [weakref.ref(model.backend.programs), weakref.ref(model.backend.scheduler)]  # type: ignore[attr-defined]
            del model
            await repository.load("pets")
            await repository.close()
            assert runners() == serving
        await asyncio.to_thread(int)  # the thread that closed the last one holds on to it until its next task
        await until(lambda: not any(reference() for reference in retired))
    finally:
        catalog.close(1.0)
    assert runners() == others
