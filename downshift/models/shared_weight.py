"""One masked layer as an artifact holds it: weights shared by all sub-nets, and who keeps which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from downshift.models.errors import SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Levels:
    """Nested masks: uint8 of the weight's shape, the number of sub-nets that keep each weight.

    Sub-net i (0 = densest) keeps a weight when its level is at least i + 1; level 0 is kept by none.
    """

    levels: NDArray[np.uint8]
    subnets: int

    @classmethod
    def from_masks(cls, masks: NDArray[np.bool_]) -> Levels:
        """Levels of boolean masks [S, *shape]; `SpecError` when one keeps what a denser one removed."""
        for index in range(1, len(masks)):
            stray = int(np.count_nonzero(masks[index] & ~masks[index - 1]))
            if stray:
                raise SpecError(
                    f"mask {index} keeps {stray} weights that mask {index - 1} removed: nested masks only"
                    " shrink; store these as 'bitmaps'"
                )
        return cls(masks.sum(axis=0, dtype=np.uint8), len(masks))

    def mask(self, index: int) -> NDArray[np.bool_]:
        """What sub-net `index` keeps, of the weight's shape."""
        return self.levels > index

    def union(self) -> NDArray[np.bool_]:
        """What any sub-net keeps, which is what the densest keeps."""
        return self.levels > 0

    def stacked(self) -> NDArray[np.bool_]:
        """All masks, [S, *shape]."""
        return np.stack([self.mask(index) for index in range(self.subnets)])


@dataclass(frozen=True, eq=False)
class Bitmaps:
    """Independent masks: booleans [S, *shape], in the order of the sub-nets."""

    masks: NDArray[np.bool_]

    def mask(self, index: int) -> NDArray[np.bool_]:
        """What sub-net `index` keeps, of the weight's shape."""
        return np.asarray(self.masks[index])

    def union(self) -> NDArray[np.bool_]:
        """What any sub-net keeps."""
        return np.asarray(self.masks.any(axis=0))

    def stacked(self) -> NDArray[np.bool_]:
        """All masks, [S, *shape]."""
        return self.masks


Masks = Levels | Bitmaps


@dataclass(frozen=True, eq=False)
class SharedWeight:
    """The float32 values of one layer, zero where no sub-net keeps them, and the masks that select."""

    values: NDArray[np.float32]
    masks: Masks

    def masked(self, index: int) -> NDArray[np.float32]:
        """The weight of sub-net `index`: its own values, +0.0 elsewhere."""
        return np.where(self.masks.mask(index), self.values, np.float32(0))
