"""Keys and certificates follow their files; SIGHUP asks for everything at once, the models among it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from downshift.models.artifact import write
from downshift.server.reload import Reloader
from tests.models.tiny_artifact import tiny_artifact
from tests.server.doubles import serving
from tests.server.listening import wait_for
from tests.server.test_faults import served

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_file_is_read_again_when_it_has_changed_and_only_then(tmp_path: Path) -> None:
    file, calls, reloader = tmp_path / "file", list[str](), Reloader()
    file.write_text("one")
    reloader.watch("the file", [file, None], lambda: calls.append(file.read_text()))
    reloader.watch("nothing", [None], lambda: calls.append("never"))
    reloader.poll()
    assert not calls
    file.write_text("three")
    reloader.poll()
    reloader.poll()
    assert calls == ["three"]
    reloader.poll(everything=True)
    assert calls == ["three"] * 2


def test_what_cannot_be_read_is_named_once_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("no key in it")

    reloader = Reloader()
    reloader.watch("the file", [tmp_path / "file"], fail)
    (tmp_path / "file").touch()
    for _ in range(3):
        reloader.poll()
    assert [record.getMessage() for record in caplog.records] == [
        "the file not reloaded, the old content stays in use: no key in it"
    ]


async def test_a_new_key_opens_the_door_an_old_one_no_longer_and_an_empty_file_changes_nothing(
    tmp_path: Path,
) -> None:
    file = tmp_path / "keys"
    file.write_text("the-old-key\n")
    async with serving(api_keys_file=file) as server:

        async def opens(key: str) -> bool:
            return (await server.client.get("/v2", headers={"X-API-Key": key})).status_code == 200

        assert await opens("the-old-key")
        file.write_text("")
        server.app.state.reloader.poll()
        assert await opens("the-old-key")
        file.write_text("the-new-key, no\n")
        server.app.state.reloader.poll()
        assert await opens("the-old-key")
        file.write_text("a-newer-key\n")
        server.app.state.reloader.poll()
        assert await opens("a-newer-key")
        assert not await opens("the-old-key")


def test_sighup_reloads_keys_and_models_and_ends_nothing(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("the-old-key\n")
    with served(tmp_path, DOWNSHIFT_API_KEYS_FILE=str(keys)) as (server, client):
        client.headers["X-API-Key"] = "the-old-key"
        assert client.get("/v2/models/tiny").json()["versions"] == ["1"]
        write(tmp_path / "tiny.onnx", tiny_artifact(seed=1))
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: client.get("/v2/models/tiny").json()["versions"] == ["2"])
        keys.write_text("the-new-key\n")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: client.get("/v2").status_code == 401)
        client.headers["X-API-Key"] = "the-new-key"
        assert client.get("/v2").status_code == 200
        assert "keys reloaded" in server.stop()
