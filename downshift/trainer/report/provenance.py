"""Provenance of an artifact: recipe, library versions and git commit; reproducible, so no path or date."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from downshift.models.spec import Provenance

if TYPE_CHECKING:
    from downshift.trainer.recipe import Recipe

GIT_SECONDS = 20  # time-out: a hung network drive must not block a finished run
_DISTRIBUTIONS = ("downshift", "torch", "onnx", "onnxscript", "numpy")


def provenance(recipe: Recipe) -> Provenance:
    """The provenance of a run of `recipe` by this installation."""
    return Provenance(
        recipe=recipe.as_dict(),
        seed=recipe.run.seed,
        dataset=recipe.data.name,
        versions=versions(),
        commit=commit(Path(__file__).parents[3]),
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the installed distributions that determine an artifact."""
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a source tree without an installation
            continue
    return found


def commit(folder: Path) -> str:
    """The git commit checked out in `folder`, with `-dirty` for uncommitted changes.

    Empty when `folder` is not the root of a checkout, git is not installed, or git times out.
    """
    if not (folder / ".git").exists():
        return ""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(  # noqa: S603 - no part of the command comes from outside
            command, capture_output=True, text=True, check=True, timeout=GIT_SECONDS
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
