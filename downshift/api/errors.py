"""Errors of calling the Python API wrongly.

    ApiError
    ├── InvalidImages        neither images nor an array of the network's shape
    ├── InvalidBudget        a latency budget that is not above 0
    ├── Contradiction        demands that exclude each other
    └── ModelClosed          a model that was closed

Errors of the packages beneath come through as they are: `UnknownName` for a sub-net that does not exist, the
runtime's `DeadlineImpossible` and `AccuracyUnavailable`, the trainer's `RecipeError`.
"""

from downshift.errors import DownshiftError


class ApiError(DownshiftError):
    """Base of every error this package raises; the text names the value and the remedy."""


class InvalidImages(ApiError, ValueError):  # noqa: N818 - it says what is invalid
    """Neither images nor an array of the network's shape."""


class InvalidBudget(ApiError, ValueError):  # noqa: N818
    """A latency budget that is not above 0."""


class Contradiction(ApiError, ValueError):  # noqa: N818
    """Demands on one prediction that exclude each other."""


class ModelClosed(ApiError):  # noqa: N818
    """A model that was closed takes no more images."""

    def __init__(self) -> None:
        super().__init__("this model is closed: load it again with downshift.load, and close it last")
