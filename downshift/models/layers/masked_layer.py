"""One layer whose weight is multiplied by the selected sub-net's mask wherever the layer's code reads it.

The layer keeps its attributes and its forward pass. Its weight becomes a property: whoever asks for
`layer.weight`, be it the layer itself, attention that hands weights to a function, or a module used at
several places, gets weight * mask.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from downshift.models.errors import SpecError
from downshift.models.layers.mask_stack import BitStack, LevelStack

if TYPE_CHECKING:
    from collections.abc import Callable

Encoding = Literal["levels", "bitmaps"]
MASKED = "masked"
"""The sub-module that holds a masked layer's shared weight and masks."""


class Selection:
    """The sub-net that every masked layer and BatchNorm of one supernet runs; `index` 0 is the densest.

    With `dense_gradient` set, masked layers keep their effective weight, so that after `backward()` its
    `.grad` holds the gradient of *every* position, active or not: what regrowth needs.
    """

    def __init__(self) -> None:
        self.index = 0
        self.dense_gradient = False


class MaskedLayer(nn.Module):
    """The shared weight of one layer and its stacked masks; called, it is the selected sub-net's weight.

    parameter: the attribute of the layer that it stands for, such as `weight`.
    """

    def __init__(
        self, weight: nn.Parameter, parameter: str, count: int, encoding: Encoding, selection: Selection
    ) -> None:
        super().__init__()
        self.weight = weight
        self.parameter = parameter
        self.stack = (LevelStack if encoding == "levels" else BitStack)(weight, count)
        self.selection = selection
        self._effective: list[Tensor] = []

    def forward(self) -> Tensor:
        """weight * mask of the selected sub-net."""
        weight: Tensor = self.weight * self.stack.mask(self.selection.index)
        if self.selection.dense_gradient and weight.requires_grad:
            weight.retain_grad()
            self._effective.append(weight)
        return weight

    def take_dense_gradient(self) -> Tensor:
        """Gradient of the effective weight at every position, summed over its uses; nothing stays kept.

        Raises `SpecError` when no backward pass kept one.
        """
        gradients = [each.grad for each in self._effective if each.grad is not None]
        self._effective = []
        if not gradients:
            raise SpecError("no dense gradient: set selection.dense_gradient before the forward pass")
        return gradients[0] if len(gradients) == 1 else torch.stack(gradients).sum(0)


def weight_attribute(layer: nn.Module) -> str | None:
    """The attribute of `layer` that can be masked; None for a module without one.

    Convolutions and linear layers have a `weight`, attention has its three input projections in one.
    """
    if isinstance(layer, nn.Conv2d | nn.Linear):
        return "weight"
    return "in_proj_weight" if isinstance(layer, nn.MultiheadAttention) else None


def mask(layer: nn.Module, count: int, encoding: Encoding, selection: Selection) -> None:
    """Put masks for `count` sub-nets over the weight of `layer`, in place; all of them keep everything.

    Raises `SpecError` for a layer whose weight is not one parameter of its own.
    """
    attribute = weight_attribute(layer)
    weight = layer._parameters.pop(attribute) if attribute else None
    if attribute is None or weight is None:
        raise SpecError(f"{type(layer).__name__}: a layer without a weight of its own cannot be masked")
    layer.add_module(MASKED, MaskedLayer(weight, attribute, count, encoding, selection))
    layer.__class__ = _masked_class(type(layer), attribute)  # type: ignore[arg-type]


def unmask(layer: nn.Module, index: int) -> None:
    """Make a masked layer, in place, the ordinary layer of sub-net `index`: its zeros are in the weight."""
    masked = masked_part(layer)
    if masked is None:
        raise SpecError(f"{type(layer).__name__}: this layer has no masks")
    weight = masked.weight
    with torch.no_grad():
        weight.mul_(masked.stack.mask(index))
    layer.__class__ = type(layer).__bases__[0]
    del layer._modules[MASKED]
    others = dict(layer._parameters)
    layer._parameters.clear()
    layer._parameters.update({masked.parameter: weight, **others})


def masked_part(layer: nn.Module) -> MaskedLayer | None:
    """The shared weight and masks of `layer`; None for a layer without masks."""
    found = layer._modules.get(MASKED)
    return found if isinstance(found, MaskedLayer) else None


@cache
def _masked_class(kind: type[nn.Module], attribute: str) -> type[nn.Module]:
    """A subclass of `kind` whose weight is computed; the same one for all layers of that kind."""
    read: Callable[[Any], Tensor] = lambda layer: layer._modules[MASKED]()  # noqa: E731 - a property's getter
    return type(f"Masked{kind.__name__}", (kind,), {attribute: property(read)})
