"""What a client asks of the runtime, what it gets, and how a request can end."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from downshift.runtime.errors import InvalidRequest

if TYPE_CHECKING:
    from downshift.models.spec import InputSpec, Point

FloatArray = npt.NDArray[np.float32]


class Outcome(StrEnum):
    """How a request ended; exactly one of these each.

    Admission control refuses as EXPIRED, SHED or INVALID; an accepted request never ends as SHED.
    """

    OK = "ok"
    LATE = "late"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"
    SHED = "shed"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Examples to classify together, and the constraints on the answer.

    inputs: float32 [n, C, H, W], n >= 1, normalised as the manifest's input says; not modified.
    deadline: when the answer must be there, seconds of `time.monotonic()`; None = no budget.
    subnet: answer with exactly this point, such as `s90` or `s90-int8`.
    min_accuracy: refuse rather than answer with a sub-net less accurate than this ratio.
    priority: larger goes first; equal priorities go by deadline.
    delivery: seconds of the budget reserved for delivering the answer: decisions use a deadline earlier by
    this much, whether the answer is late does not. Ignored without a deadline.
    """

    inputs: FloatArray
    _: KW_ONLY
    deadline: float | None = None
    subnet: str | None = None
    min_accuracy: float | None = None
    priority: int = 0
    delivery: float = 0.0

    @property
    def examples(self) -> int:
        """How many inputs the request holds."""
        return len(self.inputs)

    def check(self, spec: InputSpec) -> None:
        """Raise `InvalidRequest` unless a network with that input could answer it."""
        inputs = self.inputs
        if inputs.dtype != np.float32:
            raise InvalidRequest(f"inputs of type {inputs.dtype}: convert them to float32")
        if inputs.ndim != len(spec.shape) + 1 or inputs.shape[1:] != spec.shape or not len(inputs):
            wanted = ", ".join(map(str, spec.shape))
            raise InvalidRequest(f"inputs of shape {list(inputs.shape)}: send [n, {wanted}] with n >= 1")
        if not np.isfinite(inputs).all():
            where = np.argwhere(~np.isfinite(inputs))[0]
            raise InvalidRequest(
                f"input {inputs[tuple(where)]} at {where.tolist()}: send finite numbers only"
            )
        if self.deadline is not None and math.isnan(self.deadline):
            raise InvalidRequest("deadline nan: give monotonic seconds, or None for no budget")
        if self.min_accuracy is not None and not 0.0 <= self.min_accuracy <= 1.0:
            raise InvalidRequest(f"accuracy floor {self.min_accuracy}: give a ratio in [0, 1]")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Answer:
    """The network's outputs for one request, and how they were computed.

    outputs: float32 [n, classes], the logits, all finite. point: the sub-net and its precision.
    queue_seconds: from submission until execution began.
    compute_seconds: the engine's time for the whole batch the request was part of.
    batch_size: examples in that batch.
    late: the answer was ready only after the deadline.
    """

    outputs: FloatArray
    point: Point
    engine: str
    queue_seconds: float
    compute_seconds: float
    batch_size: int
    late: bool
