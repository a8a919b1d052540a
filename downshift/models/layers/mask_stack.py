"""The stacked masks of one layer: which of its weights belong to which sub-net.

Two forms of one idea, both indexed by sub-net with 0 = densest:

* `LevelStack`  nested masks as one byte a weight; m_i = (level > i).
* `BitStack`    independent masks, as in the paper; one bool a weight and sub-net.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class LevelStack(nn.Module):
    """Nested masks of up to 255 sub-nets as one uint8 level a weight."""

    levels: Tensor

    def __init__(self, weight: Tensor, count: int) -> None:
        super().__init__()
        self._count = count
        self.register_buffer("levels", torch.full_like(weight, count, dtype=torch.uint8, requires_grad=False))

    @property
    def count(self) -> int:
        """Number of sub-nets."""
        return self._count

    def mask(self, index: int) -> Tensor:
        """Bool mask of sub-net `index`."""
        return self.levels > index

    def union(self) -> Tensor:
        """Bool mask of what any sub-net keeps, a tensor of its own."""
        return self.levels > 0

    def assign(self, masks: Sequence[Tensor]) -> None:
        """Replace all masks; they must be nested, which the caller's ranking guarantees."""
        self.levels.zero_()
        for mask in masks:
            self.levels.add_(mask.view_as(self.levels))

    def extra_repr(self) -> str:
        """Shown by `print(supernet)`."""
        return f"count={self._count}"


class BitStack(nn.Module):
    """Independent masks; one buffer a sub-net, so that memory formats apply to each."""

    def __init__(self, weight: Tensor, count: int) -> None:
        super().__init__()
        self._count = count
        for index in range(count):
            full = torch.ones_like(weight, dtype=torch.bool, requires_grad=False)
            self.register_buffer(f"mask_{index}", full)

    @property
    def count(self) -> int:
        """Number of sub-nets."""
        return self._count

    def mask(self, index: int) -> Tensor:
        """Bool mask of sub-net `index`."""
        return self.get_buffer(f"mask_{index}")

    def union(self) -> Tensor:
        """Bool mask of what any sub-net keeps, a tensor of its own."""
        return torch.stack([self.mask(index) for index in range(self._count)]).any(0)

    def assign(self, masks: Sequence[Tensor]) -> None:
        """Replace all masks."""
        for index, mask in enumerate(masks):
            self.mask(index).copy_(mask.view_as(self.mask(index)))

    def extra_repr(self) -> str:
        """Shown by `print(supernet)`."""
        return f"count={self._count}"
