from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from downshift.runtime import json_cache
from downshift.runtime.errors import ProfileError
from downshift.runtime.json_cache import JsonCache, default_folder

KEY = ["ab" * 32, {"threads": 2}]


def same(document: Any) -> Any:
    return document


def test_what_was_stored_is_found_again_under_its_key_alone(tmp_path: Path) -> None:
    cache = JsonCache(tmp_path / "not" / "yet" / "there")
    assert cache.load("profile", KEY, same) is None
    cache.store("profile", KEY, {"a": [1, 2.5, None]})
    assert cache.load("profile", KEY, same) == {"a": [1, 2.5, None]}
    assert cache.load("tilings", KEY, same) is None
    assert cache.load("profile", [*KEY, "s90"], same) is None
    assert cache.folder is not None
    assert [path.suffix for path in cache.folder.iterdir()] == [".json"], "and nothing half written"


def test_the_order_of_an_objects_names_is_no_part_of_the_key(tmp_path: Path) -> None:
    cache = JsonCache(tmp_path)
    assert cache.path("x", {"a": 1, "b": 2}) == cache.path("x", {"b": 2, "a": 1})


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"1", b"2"])
def test_a_damaged_file_is_ignored_said_and_replaced(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    def parse(document: Any) -> Any:
        if document == 1:
            raise ValueError("no")
        if document == 2:
            raise ProfileError("no")
        return document

    cache = JsonCache(tmp_path)
    path = cache.path("profile", KEY)
    assert path is not None
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert cache.load("profile", KEY, parse) is None
    assert "ignored and measured again" in caplog.text
    cache.store("profile", KEY, 3)
    assert cache.load("profile", KEY, parse) == 3


def test_without_a_folder_nothing_is_kept_which_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    cache = JsonCache(None)
    for _ in range(3):
        cache.store("profile", KEY, 1)
        assert cache.load("profile", KEY, same) is None
    [record] = caplog.records
    assert "no home directory" in record.getMessage()
    assert "set DOWNSHIFT_CACHE_DIR to a folder" in record.getMessage()


def refuse(code: int) -> Any:
    def refusing(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return refusing


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EMFILE])
def test_a_disk_that_refuses_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(json_cache, "write_atomically", refuse(code))
    cache = JsonCache(tmp_path)
    for name in ("s50", "s90", "s98"):
        cache.store("tilings", [*KEY, name], 1)
    [record] = caplog.records
    assert os.strerror(code) in record.getMessage()


def test_a_folder_that_cannot_be_made_or_read_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    cache = JsonCache(tmp_path / "file")
    cache.store("profile", KEY, 1)
    assert cache.load("profile", KEY, same) is None
    monkeypatch.setattr(Path, "read_bytes", refuse(errno.EACCES))
    assert cache.load("profile", KEY, same) is None
    assert len(caplog.records) == 1


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOWNSHIFT_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_folder() == Path("/home/someone/.cache/downshift")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_folder() == Path("/caches/downshift")
    monkeypatch.setenv("DOWNSHIFT_CACHE_DIR", "/elsewhere")
    assert default_folder() == Path("/elsewhere")


def test_a_user_id_that_nobody_knows_has_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOWNSHIFT_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987654321)
    assert default_folder() is None
