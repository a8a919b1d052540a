"""From logits to labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def ranking(
    logits: NDArray[np.float32], labels: Sequence[str], top_k: int | None = None
) -> tuple[tuple[str, float], ...]:
    """The `top_k` most probable labels (by default all) of logits [classes] with their probabilities.

    The most probable comes first; equals keep the order of the classes.
    """
    order = np.argsort(-logits, kind="stable")[:top_k]
    probability = softmax(logits)
    return tuple((labels[index], float(probability[index])) for index in order)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities float64 [classes] that sum to one, however large the logits are."""
    exponent = np.exp(logits.astype(np.float64) - float(logits.max()))
    return np.asarray(exponent / exponent.sum(), dtype=np.float64)
