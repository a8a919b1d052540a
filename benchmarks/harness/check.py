"""The one check of a result that is timed: logits against the network's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness.errors import WrongAnswer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

TOLERANCE = 1e-3
"""Largest error of a logit in float32, as a share of the largest logit."""


def is_right(answer: Floats, expected: Floats, tolerance: float = TOLERANCE) -> bool:
    """Whether every logit is within `tolerance` times the largest expected logit."""
    return answer.shape == expected.shape and error_of(answer, expected) <= tolerance


def error_of(answer: Floats, expected: Floats) -> float:
    """The largest error of a logit, as a share of the largest expected logit; NaN where one is NaN."""
    return float(np.abs(answer - expected).max() / np.abs(expected).max())


def check(who: str, answer: Floats, expected: Floats, tolerance: float = TOLERANCE) -> None:
    """Raise `WrongAnswer` unless the answer is right."""
    if answer.shape != expected.shape:
        raise WrongAnswer(f"{who}: logits of shape {answer.shape}, not {expected.shape}")
    if not is_right(answer, expected, tolerance):
        raise WrongAnswer(f"{who}: wrong by {error_of(answer, expected):.2g} of the largest logit")
