from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from downshift.runtime.errors import ProfileError
from downshift.runtime.json_cache import JsonCache
from downshift.runtime.profiling.profile_cache import KIND, ProfileCache, check_belongs, key
from tests.runtime.doubles import MACHINE, profile

if TYPE_CHECKING:
    from pathlib import Path


def test_a_stored_profile_is_found_again(tmp_path: Path) -> None:
    cache = ProfileCache(JsonCache(tmp_path))
    kept = profile()
    assert cache.load(kept.artifact, MACHINE) is None
    cache.store(kept)
    assert cache.load(kept.artifact, MACHINE) == kept


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
    cache = ProfileCache(JsonCache(tmp_path))
    cache.store(profile())
    assert isinstance(other, type(MACHINE))
    assert cache.load("0" * 64, other) is None
    assert cache.load("1" * 64, MACHINE) is None


@pytest.mark.parametrize("document", [[], 3, None, {}, {"schema": 1}, {"schema": 99}])
def test_what_is_no_profile_is_ignored_said_and_replaced(
    tmp_path: Path, document: object, caplog: pytest.LogCaptureFixture
) -> None:
    folder, kept = JsonCache(tmp_path), profile()
    folder.store(KIND, key(kept.artifact, MACHINE), document)
    with caplog.at_level(logging.WARNING):
        assert ProfileCache(folder).load(kept.artifact, MACHINE) is None
    assert "ignored and measured again" in caplog.text
    ProfileCache(folder).store(kept)
    assert ProfileCache(folder).load(kept.artifact, MACHINE) == kept


def test_a_file_under_the_name_of_another_artifact_is_ignored(tmp_path: Path) -> None:
    cache = ProfileCache(JsonCache(tmp_path))
    cache.store(profile())
    [file] = tmp_path.iterdir()
    wrong = cache.cache.path(KIND, key("1" * 64, MACHINE))
    assert wrong is not None
    file.rename(wrong)
    assert cache.load("1" * 64, MACHINE) is None


def test_a_foreign_profile_is_refused_with_the_difference_and_the_remedy() -> None:
    check_belongs(profile(), "0" * 64, MACHINE)
    with pytest.raises(ProfileError, match=r"threads 1, here 8.*run `downshift profile`"):
        check_belongs(profile(), "0" * 64, replace(MACHINE, threads=8))
    with pytest.raises(ProfileError, match=r"artifact 000000000000… does not belong to 111111111111….*run"):
        check_belongs(profile(), "1" * 64, MACHINE)
