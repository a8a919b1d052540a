"""Divergence detection: the first step at which a loss or a weight is NaN or infinite.

Losses stay on the device and are checked every `CHECK_EVERY` steps: one host synchronisation for all of them.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CHECK_EVERY = 16  # steps
_OWN_NORM = re.compile(r"\.norms\.(\d+)\.")


class LossHistory:
    """Cumulative losses per sub-net at each step since the last check; NaN and infinity persist in sums."""

    def __init__(self, subnets: int, device: torch.device) -> None:
        self._sums = torch.zeros(CHECK_EVERY, subnets, device=device)
        self._kept = 0

    @property
    def full(self) -> bool:
        """Whether a check is due before the next step."""
        return self._kept == CHECK_EVERY

    def add(self, losses: Tensor) -> None:
        """Record the cumulative losses [S] after a step."""
        self._sums[self._kept] = losses
        self._kept += 1

    def first_not_finite(self, average: Callable[[Sequence[Tensor]], None]) -> tuple[int, int, float] | None:
        """(steps before the last, sub-net, value) of the first non-finite loss, if any; clears the history.

        `average`: all-reduce (mean) over data-parallel workers, so that all of them decide alike.
        """
        sums = self._sums[: self._kept]
        average([sums])
        table = sums.tolist()
        self._kept = 0
        for row, values in enumerate(table):
            for subnet, value in enumerate(values):
                if not math.isfinite(value):
                    return len(table) - 1 - row, subnet, value
        return None


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first floating-point tensor with NaN or infinity, if any; one host synchronisation."""
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    if not floats:
        return None
    finite = torch.stack([tensor.isfinite().all() for tensor in floats.values()]).tolist()
    return next((name for name, fine in zip(floats, finite, strict=True) if not fine), None)


def owner(tensor: str) -> int | None:
    """The sub-net whose BatchNorm holds the tensor of that name; None for a shared tensor."""
    found = _OWN_NORM.search(tensor)
    return int(found.group(1)) if found else None
