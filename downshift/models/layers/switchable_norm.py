"""Switchable BatchNorm: one BatchNorm per sub-net (Yu et al., "Slimmable Neural Networks", ICLR 2019)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.nn.modules.batchnorm import _BatchNorm

    from downshift.models.layers.masked_layer import Selection


class SwitchableNorm(nn.Module):
    """One BatchNorm a sub-net; the selected one runs and is the only one that learns.

    Attributes that it does not have itself, such as `num_features`, are those of the selected one.
    """

    def __init__(self, norm: _BatchNorm, count: int, selection: Selection) -> None:
        super().__init__()
        self.norms = nn.ModuleList(copy.deepcopy(norm) for _ in range(count))
        self.selection = selection

    def forward(self, x: Tensor) -> Tensor:
        """The selected sub-net's normalisation of x."""
        return self.norms[self.selection.index](x)  # type: ignore[no-any-return]

    def plain(self, index: int) -> nn.Module:
        """A copy of sub-net `index`'s BatchNorm."""
        return copy.deepcopy(self.norms[index])

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "norms" not in self.__dict__.get("_modules", {}) or "selection" not in self.__dict__:
                raise
            return getattr(self.norms[self.selection.index], name)
