"""A prediction: labels with probabilities, and the sub-net that gave them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHOWN_LABELS, SHOWN_IMAGES = 3, 10  # by `str`


@dataclass(frozen=True, slots=True)
class Label:
    """One class, by name, and its probability in [0, 1]."""

    name: str
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The classes of one or more images that one sub-net ran as one request.

    labels: for each image every class, the most probable first.
    logits: float32 [images, classes], classes in the order of the model's `labels`.
    subnet, sparsity, accuracy: the sub-net that answered; ratios; accuracy is None where never measured.
    engine: which engine ran it. seconds: how long that took, decoding and queueing not included.
    """

    labels: tuple[tuple[Label, ...], ...]
    logits: NDArray[np.float32]
    subnet: str
    sparsity: float
    accuracy: float | None
    engine: str
    seconds: float

    @property
    def best(self) -> tuple[Label, ...]:
        """The most probable class of each image."""
        return tuple(ranked[0] for ranked in self.labels)

    def __str__(self) -> str:
        lines = [
            ", ".join(f"{label.name} {label.probability:.1%}" for label in ranked[:SHOWN_LABELS])
            for ranked in self.labels[:SHOWN_IMAGES]
        ]
        if len(self.labels) > SHOWN_IMAGES:
            lines.append(f"... {len(self.labels) - SHOWN_IMAGES} more images")
        accuracy = "" if self.accuracy is None else f", accuracy {self.accuracy:.2%}"
        how = f"sub-net {self.subnet} (sparsity {self.sparsity:.2%}{accuracy})"
        return "\n".join([*lines, f"{how} on {self.engine} in {self.seconds * 1e3:.3f} ms"])
