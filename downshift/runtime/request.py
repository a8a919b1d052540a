"""What a client asks and what it gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from downshift.models.spec import SubnetSpec

Tensor = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Examples to classify together, and what the client demands of the answer.

    inputs: float32 [n, C, H, W], n >= 1, normalised as the manifest's input says; not modified.
    deadline: when the answer must be there, seconds of `time.monotonic()`; None = no budget.
    subnet: answer with exactly this sub-net.
    min_accuracy: refuse rather than answer with a sub-net less accurate than this ratio.
    priority: larger goes first; equal priorities go by deadline.
    delivery: seconds before the deadline that the answer needs for its way back; decisions are made as if
    the deadline were that much earlier, whether the answer is late is not. Means nothing without a deadline.
    """

    inputs: Tensor
    deadline: float | None = None
    subnet: str | None = None
    min_accuracy: float | None = None
    priority: int = 0
    delivery: float = 0.0

    @property
    def examples(self) -> int:
        """How many inputs the request holds."""
        return len(self.inputs)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The network's outputs for one request, and how they came about.

    outputs: float32 [n, classes], the logits, all finite.
    queue_seconds: from submission until execution began.
    compute_seconds: the engine's time for the whole batch the request was part of.
    batch_size: examples in that batch.
    late: the answer was ready only after the deadline.
    """

    outputs: Tensor
    subnet: SubnetSpec
    engine: str
    queue_seconds: float
    compute_seconds: float
    batch_size: int
    late: bool
