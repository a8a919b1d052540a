"""Tilings on disk: what was stored comes back, anything else counts as not there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from downshift.runtime.engines.tilings import TilingCache
from downshift.runtime.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path

TILINGS = [(4, 1, 64, False, 2), (8, 4, 16, True, 1)]
MACHINE = Machine("a cpu", 2, (), 2, {"sparse": "1"})


@pytest.fixture
def cache(tmp_path: Path) -> TilingCache:
    return TilingCache(tmp_path / "made on demand", "ab" * 32, MACHINE)


def test_tilings_come_back(cache: TilingCache) -> None:
    cache.store("s90", TILINGS)
    assert cache.load("s90") == TILINGS


def test_nothing_is_there_at_first(cache: TilingCache, caplog: pytest.LogCaptureFixture) -> None:
    assert cache.load("s90") is None
    assert not caplog.records


def test_every_part_of_the_key_counts(cache: TilingCache) -> None:
    others = [
        TilingCache(cache.folder, "cd" * 32, MACHINE),
        TilingCache(cache.folder, cache.artifact, Machine("a cpu", 2, (), 1, {"sparse": "1"})),
        TilingCache(cache.folder, cache.artifact, Machine("a cpu", 2, (), 2, {"sparse": "2"})),
    ]
    assert len({one.path("s90") for one in (cache, *others)} | {cache.path("s80")}) == 5


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[[1, 2, 3, true]]",
        "[[1, 2, 3, 1, 1]]",
        '[[1, 2, 3, true, "1"]]',
        "[1]",
        "[" * 100_000,
        "\xff",
    ],
)
def test_damaged_files_are_ignored_with_a_word_in_the_log(
    cache: TilingCache, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    cache.folder.mkdir()
    cache.path("s90").write_bytes(content.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert cache.load("s90") is None
    assert "ignored" in caplog.text


def test_a_disk_that_refuses_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    TilingCache(blocked, "ab" * 32, MACHINE).store("s90", TILINGS)
    assert "not cached" in caplog.text
