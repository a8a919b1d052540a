"""Compatibility of a checkpoint's recipe with the recipe that resumes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from downshift.trainer.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAY_CHANGE = (
    "optimizer.lr",
    "optimizer.weight_decay",
    "optimizer.label_smoothing",
    "run.precision",
    "run.recalibrate",
    "run.evaluate_every",
    "run.checkpoint_every",
    "run.quantize",
    "data.workers",
)
"""Keys that may change on resuming: none affects tensor shapes, schedules or the order of the images."""


def changes(saved: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The values of `now` that differ from `saved`, by `section.key`; both are recipes as nested dicts.

    Raises `CheckpointError` for a difference outside `MAY_CHANGE`.
    """
    before, after = _flat(saved), _flat(now)
    different = [key for key in after | before if before.get(key) != after.get(key)]
    for key in different:
        if key not in MAY_CHANGE:
            raise CheckpointError(
                f"the checkpoint was made with {key} = {before.get(key)!r}, not {after.get(key)!r}: resume "
                f"with the same recipe, or choose another --out; only {', '.join(MAY_CHANGE)} may change"
            )
    return {key: after[key] for key in different}


def _flat(recipe: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{section}.{key}": value for section, values in recipe.items() for key, value in values.items()}
