"""Inputs of several requests side by side: the batch that an engine gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.runtime.request import Tensor


class Stack:
    """Copies inputs into memory of its own, which the next batch overwrites.

    numpy would give up the GIL for every input that it copies, and wait each time until an event loop that is
    at work lets it have it back: while requests keep coming, that took ten times as long as the copying,
    and a twentieth of what a batch took. A memoryview copies without.
    """

    def __init__(self) -> None:
        self._room = np.empty((0,), np.float32)

    def batch(self, inputs: Sequence[Tensor]) -> Tensor:
        """The inputs, each float32 [n, C, H, W], as one C-contiguous batch; valid until the next call.

        One alone is not copied without need.
        """
        if len(inputs) == 1:
            return np.ascontiguousarray(inputs[0])
        examples, shape = sum(map(len, inputs)), inputs[0].shape[1:]
        if self._room.shape[1:] != shape or len(self._room) < examples:
            self._room = np.empty((examples, *shape), np.float32)
        room, begin = self._room.data.cast("B"), 0
        for each in inputs:
            part = np.ascontiguousarray(each, np.float32).data.cast("B")
            room[begin : begin + len(part)] = part
            begin += len(part)
        return self._room[:examples]
