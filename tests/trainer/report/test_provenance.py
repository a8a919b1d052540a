"""An artifact says where it comes from, and nothing about the machine or the day."""

from __future__ import annotations

import platform
import subprocess
from typing import TYPE_CHECKING

from downshift.trainer.report.provenance import commit, provenance
from tests.trainer.small import small_recipe

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *settings, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_it_holds_recipe_seed_data_set_and_versions() -> None:
    recipe = small_recipe(run={"seed": 3})
    found = provenance(recipe)
    assert (found.recipe, found.seed, found.dataset) == (recipe.as_dict(), 3, "digits")
    assert found.versions["python"] == platform.python_version()
    assert found.versions.keys() >= {"torch", "onnx", "onnxscript", "numpy"}


def test_the_commit_is_the_one_checked_out_and_says_when_files_differ(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    git(tmp_path, "tag", "v1")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit(tmp_path) == head
    (tmp_path / "file").write_text("two")
    assert commit(tmp_path) == f"{head}-dirty"


def test_a_folder_inside_somebody_elses_checkout_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "installed").mkdir()
    assert commit(tmp_path / "installed") == ""


def test_a_checkout_without_commits_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert commit(tmp_path) == ""


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tmp_path) == ""
