"""Errors of the `trainer` package.

TrainerError
├── DataError         a data set that is missing, damaged, or another one
├── RecipeError       an invalid recipe
├── CheckpointError   a checkpoint that is missing, damaged, or of another run
├── ExportError       a network or name that cannot be exported
├── DivergenceError   a loss or weight that is NaN or infinite
├── StorageError      a full disk
└── WorkerError       a loading or training process that exited or hangs
"""

from __future__ import annotations

from downshift.errors import DownshiftError


class TrainerError(DownshiftError):
    """Base of every error this package raises; the text names the value and the remedy."""


class DataError(TrainerError):
    """A data set that cannot be used; the text names the path."""


class RecipeError(TrainerError, ValueError):
    """An invalid recipe or value of a recipe; the text names the key."""


class CheckpointError(TrainerError):
    """A checkpoint that cannot be resumed; the text names the path."""


class ExportError(TrainerError):
    """A run whose result could not be exported; raised before the first step."""


class DivergenceError(TrainerError):
    """Training that diverged to NaN or infinity; the text names step, learning rate and sub-net."""


class StorageError(TrainerError):
    """A full disk under the run's folder; the text names the last checkpoint."""


class WorkerError(TrainerError):
    """A loading or training process that exited or hangs; the text names the likely reason."""
