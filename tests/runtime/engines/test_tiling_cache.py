"""Tilings on disk: what was stored comes back, anything else counts as not there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from downshift.runtime._kernels import Tiling
from downshift.runtime.engines.tiling_cache import KIND, TilingCache
from downshift.runtime.json_cache import JsonCache
from downshift.runtime.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path

TILINGS = [
    Tiling(vectors=4, rows=1, block=64, split=False, parts=2),
    Tiling(vectors=8, rows=4, block=16, split=True, parts=1),
]


def machine(threads: int = 2, version: str = "1") -> Machine:
    return Machine(cpu="a cpu", cores=2, gpus=(), threads=threads, versions={"sparse": version})


@pytest.fixture
def cache(tmp_path: Path) -> TilingCache:
    return TilingCache(JsonCache(tmp_path / "made on demand"), "ab" * 32, machine())


def test_tilings_come_back(cache: TilingCache) -> None:
    cache.store("s90", TILINGS)
    assert cache.load("s90") == TILINGS


def test_nothing_is_there_at_first(cache: TilingCache, caplog: pytest.LogCaptureFixture) -> None:
    assert cache.load("s90") is None
    assert not caplog.records


def test_every_part_of_the_key_counts(cache: TilingCache) -> None:
    others = [
        TilingCache(cache.cache, "cd" * 32, machine()),
        TilingCache(cache.cache, cache.artifact, machine(threads=1)),
        TilingCache(cache.cache, cache.artifact, machine(version="2")),
    ]
    cache.store("s90", TILINGS)
    assert cache.load("s80") is None
    assert [one.load("s90") for one in others] == [None] * 3


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[1]",
        "[[1, 2, 3, true, 1]]",
        '[{"vectors": 1, "rows": 2, "block": 3, "split": true}]',
        '[{"vectors": 1, "rows": 2, "block": 3, "split": true, "parts": 1, "more": 1}]',
        '[{"vectors": 1, "rows": 2, "block": 3, "split": 1, "parts": 1}]',
        '[{"vectors": 1, "rows": 2, "block": 3, "split": true, "parts": "1"}]',
        '[{"vectors": 1, "rows": 2, "block": 1e3, "split": true, "parts": 1}]',
        '[{"vectors": 1, "rows": 2, "block": 99999999999999, "split": true, "parts": 1}]',
        "[" * 100_000,
        "\xff",
    ],
)
def test_damaged_files_are_ignored_with_a_word_in_the_log(
    cache: TilingCache, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    path = cache.cache.path(KIND, cache.key("s90"))
    assert path is not None
    path.parent.mkdir()
    path.write_bytes(content.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert cache.load("s90") is None
    assert "ignored" in caplog.text
