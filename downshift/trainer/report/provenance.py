"""Where an artifact comes from: the recipe, the versions and the commit that made it, and no path or date."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from downshift.models.spec import Provenance

if TYPE_CHECKING:
    from downshift.trainer.recipe import Recipe

GIT_SECONDS = 20  # a checkout on a network drive that hangs must not hold up a finished run
_DISTRIBUTIONS = ("downshift", "torch", "onnx", "onnxscript", "numpy")


def provenance(recipe: Recipe) -> Provenance:
    """The origin of a run of `recipe` by this installation."""
    return Provenance(
        recipe=recipe.as_dict(),
        seed=recipe.run.seed,
        dataset=recipe.data.name,
        versions=versions(),
        commit=commit(Path(__file__).parents[3]),
    )


def versions() -> dict[str, str]:
    """Python's version and those of the installed distributions that shape an artifact."""
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a source tree that was never installed
            continue
    return found


def commit(folder: Path) -> str:
    """The git commit that is checked out in `folder`, with `-dirty` when files differ from it.

    Empty when `folder` is not itself the root of a checkout, or git is not there or hangs.
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
