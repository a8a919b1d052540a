"""Errors of the `trainer` package.

TrainerError
├── DataError         a data set that is missing, not the one it should be, or damaged
├── RecipeError       a recipe that cannot be followed
└── CheckpointError   a checkpoint that is missing, damaged, or of another run
"""

from __future__ import annotations

from downshift.errors import DownshiftError


class TrainerError(DownshiftError):
    """Base of every error this package raises; the text names the value and the remedy."""


class DataError(TrainerError):
    """A data set that cannot be used; the text names the path."""


class RecipeError(TrainerError, ValueError):
    """A recipe, or one value in it, that no run can follow."""


class CheckpointError(TrainerError):
    """A checkpoint that cannot be resumed from; the text names the path."""
