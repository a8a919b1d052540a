"""Questions between worker processes."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from downshift.server.catalog import Catalog
from downshift.server.connection.probe import expose
from downshift.server.errors import BadSetting
from downshift.server.processes.peers import LONGEST_FOLDER, Peers, peers_folder
from downshift.server.telemetry.metrics import Metrics
from tests.server.doubles import MODEL, ScriptedBackend
from tests.server.listening import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def peers() -> Iterator[Peers]:
    with peers_folder() as folder:
        yield Peers(folder, 3)


def start(peers: Peers, index: int) -> tuple[Metrics, ScriptedBackend]:
    """A worker's side, served in this process."""
    catalog, metrics, backend = Catalog([MODEL]), Metrics(CollectorRegistry()), ScriptedBackend()
    catalog.publish(MODEL, backend)
    expose(catalog, metrics.exposition, peers.listen(index), "peers", metrics.supervisor)
    return metrics, backend


def test_a_worker_tells_its_metrics_and_whether_it_lives(peers: Peers) -> None:
    _, backend = start(peers, 1)
    wait_for(lambda: peers.alive(1))
    told = peers.told()
    assert told.now.keys() == {0, 1, 2}
    assert told.now[0] is None
    assert told.now[1] is not None
    assert "downshift_build_info" in {family.name for family in told.now[1]}
    assert not told.before
    backend.scheduler.serving = False
    wait_for(lambda: not peers.alive(1))


def test_a_worker_that_is_gone_answers_nothing_and_its_place_can_be_taken(peers: Peers) -> None:
    peers.listen(1).close()  # its file stays, as after kill -9
    assert not peers.alive(1)
    start(peers, 1)
    wait_for(lambda: peers.alive(1))


def test_a_worker_that_accepts_and_says_nothing_is_not_waited_for(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("downshift.server.processes.peers.TIMEOUT_SECONDS", 0.05)
    with peers.listen(2):
        assert not peers.alive(2)


def test_one_after_the_other_is_exclusive(peers: Peers) -> None:
    entered: list[str] = []

    def second() -> None:
        with peers.exclusive("preparing"):
            entered.append("second")

    thread = threading.Thread(target=second)
    with peers.exclusive("preparing"):
        thread.start()
        with peers.exclusive("metrics"):  # another purpose
            entered.append("first")
    thread.join()
    assert entered == ["first", "second"]


def test_the_folder_is_ours_alone_and_goes() -> None:
    with peers_folder() as folder:
        assert Path(folder).stat().st_mode & 0o077 == 0
    assert not Path(folder).exists()


def test_where_no_folder_can_be_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(BadSetting, match=r"No such file or directory.* set TMPDIR"), peers_folder():
        pass
    long = tmp_path / ("x" * LONGEST_FOLDER)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(BadSetting, match="too long"), peers_folder():
        pass
