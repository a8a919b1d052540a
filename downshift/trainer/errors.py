"""Errors of the `trainer` package.

TrainerError
├── DataError         a data set that is missing, not the one it should be, or damaged
├── RecipeError       a recipe that cannot be followed
├── CheckpointError   a checkpoint that is missing, damaged, or of another run
├── ExportError       a network or a name that no artifact can hold
├── DivergenceError   a loss or a weight that is not finite
├── StorageError      a disk that is full
└── WorkerError       a loading process, or another training process, that ended or hangs
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


class ExportError(TrainerError):
    """A run whose result no artifact could hold; found before its first step."""


class DivergenceError(TrainerError):
    """Training that went to NaN or infinity; the text names the step, the learning rate and the sub-net."""


class StorageError(TrainerError):
    """A run's folder that takes no more; the text says which checkpoint is kept."""


class WorkerError(TrainerError):
    """A process that this one needs and that ended or hangs; the text names the likely reason."""
