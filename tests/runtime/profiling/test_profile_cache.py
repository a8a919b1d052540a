from __future__ import annotations

import errno
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from downshift.runtime.errors import ProfileError
from downshift.runtime.profiling import profile_cache
from downshift.runtime.profiling.profile_cache import ProfileCache, check_belongs, default_folder
from tests.runtime.doubles import MACHINE, profile


def test_a_stored_profile_is_found_again(tmp_path: Path) -> None:
    cache = ProfileCache(tmp_path / "not" / "yet" / "there")
    kept = profile()
    assert cache.load(kept.artifact, MACHINE) is None
    cache.store(kept)
    assert cache.load(kept.artifact, MACHINE) == kept
    assert [path.name for path in cache.folder.iterdir()] == [cache.path(kept.artifact, MACHINE).name]


@pytest.mark.parametrize(
    "other",
    [
        replace(MACHINE, cpu="another processor"),
        replace(MACHINE, cores=4),
        replace(MACHINE, gpus=("a GPU",)),
        replace(MACHINE, threads=2),
        replace(MACHINE, versions={"fake": "2"}),
    ],
)
def test_another_machine_version_or_thread_count_is_another_profile(tmp_path: Path, other: object) -> None:
    cache = ProfileCache(tmp_path)
    cache.store(profile())
    assert isinstance(other, type(MACHINE))
    assert cache.load("0" * 64, other) is None
    assert cache.load("1" * 64, MACHINE) is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b'{"schema": 1}'])
def test_a_damaged_file_is_ignored_said_and_replaced(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ProfileCache(tmp_path)
    kept = profile()
    cache.path(kept.artifact, MACHINE).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert cache.load(kept.artifact, MACHINE) is None
    assert "ignored and measured again" in caplog.text
    cache.store(kept)
    assert cache.load(kept.artifact, MACHINE) == kept


def test_a_file_under_the_name_of_another_artifact_is_ignored(tmp_path: Path) -> None:
    cache = ProfileCache(tmp_path)
    cache.store(profile())
    cache.path("0" * 64, MACHINE).rename(cache.path("1" * 64, MACHINE))
    assert cache.load("1" * 64, MACHINE) is None


def test_a_full_disk_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(profile_cache, "write_atomically", full)
    with caplog.at_level(logging.WARNING):
        ProfileCache(tmp_path).store(profile())
    assert "No space left on device" in caplog.text


def test_a_folder_that_is_a_file_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    cache = ProfileCache(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        cache.store(profile())
        assert cache.load("0" * 64, MACHINE) is None
    assert "not cached" in caplog.text


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOWNSHIFT_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_folder() == Path("/home/someone/.cache/downshift")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_folder() == Path("/caches/downshift")
    monkeypatch.setenv("DOWNSHIFT_CACHE_DIR", "/elsewhere")
    assert default_folder() == Path("/elsewhere")


def test_a_foreign_profile_is_refused_with_the_difference_and_the_remedy() -> None:
    check_belongs(profile(), "0" * 64, MACHINE)
    with pytest.raises(ProfileError, match=r"threads 1, here 8.*run `downshift profile`"):
        check_belongs(profile(), "0" * 64, replace(MACHINE, threads=8))
    with pytest.raises(ProfileError, match=r"artifact 000000000000… does not belong to 111111111111….*run"):
        check_belongs(profile(), "1" * 64, MACHINE)
