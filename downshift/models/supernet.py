"""Any `nn.Module` as a supernet: masked weights and switchable BatchNorm, one selection for all.

`Supernet(network, count)` replaces, in place, every chosen convolution and linear layer by a masked one and
every BatchNorm that can see a masked layer's output by one BatchNorm a sub-net. Weights are shared; masks and
normalisation are not (AST, Yang et al., NeurIPS 2022; switchable BatchNorm: Yu et al., ICLR 2019).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from downshift.models.errors import SpecError, UnknownName
from downshift.models.mask_stack import BitStack, LevelStack
from downshift.models.networks.memory_format import lay_out
from downshift.models.pattern import Pattern, Unstructured

Encoding = Literal["levels", "bitmaps"]
MOST_SUBNETS = 255  # what one byte a weight can tell apart


@dataclass(frozen=True)
class LayerRule:
    """Which layers are masked: all convolutions but the stem, and what the flags add or take away.

    pattern: where zeros will fall; a layer that it does not fit stays dense.
    """

    classifier: bool = False
    depthwise: bool = False
    dense: tuple[str, ...] = ()
    pattern: Pattern = field(default_factory=Unstructured)


def masked_layer_names(network: nn.Module, rule: LayerRule) -> tuple[str, ...]:
    """Qualified names of the layers that `rule` masks, in registration order.

    The stem is the first convolution, the classifier the last linear layer. Raises `UnknownName` when
    `rule.dense` names no layer, `SpecError` when nothing is left to mask.
    """
    layers = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    names = [name for name, _ in layers]
    for name in rule.dense:
        if name not in names:
            raise UnknownName("layer", name, names)
    stem = next((name for name, m in layers if isinstance(m, nn.Conv2d)), None)
    classifier = next((name for name, m in reversed(layers) if isinstance(m, nn.Linear)), None)
    chosen = []
    for name, layer in layers:
        depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
        excluded = name == stem or name in rule.dense
        excluded |= name == classifier and not rule.classifier
        excluded |= depthwise and not rule.depthwise
        excluded |= not rule.pattern.fits(layer.weight.shape, getattr(layer, "groups", 1))
        if not excluded:
            chosen.append(name)
    if not chosen:
        raise SpecError(f"no layer of {type(network).__name__} can be masked: it has {names}")
    return tuple(chosen)


class Selection:
    """The sub-net that every masked layer and BatchNorm of one supernet runs; `index` 0 is the densest.

    With `dense_gradient` set, masked layers keep their effective weight, so that after `backward()` its
    `.grad` holds the gradient of *every* position, active or not: what regrowth needs.
    """

    def __init__(self) -> None:
        self.index = 0
        self.dense_gradient = False


class MaskedLayer(nn.Module):
    """A convolution or linear layer whose weight is multiplied by the selected sub-net's mask."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, count: int, encoding: Encoding, selection: Selection):
        super().__init__()
        if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
            raise SpecError(f"convolution padding mode {layer.padding_mode!r}: only 'zeros' can be masked")
        self.layer = layer
        self.stack = (LevelStack if encoding == "levels" else BitStack)(layer.weight, count)
        self.selection = selection
        self.effective: Tensor | None = None

    @property
    def weight(self) -> nn.Parameter:
        """The shared weight, unmasked."""
        return cast("nn.Parameter", self.layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output with weight * mask of the selected sub-net."""
        weight = self.weight * self.stack.mask(self.selection.index)
        self.effective = None
        if self.selection.dense_gradient and weight.requires_grad:
            weight.retain_grad()
            self.effective = weight
        layer = self.layer
        if isinstance(layer, nn.Conv2d):
            return functional.conv2d(
                x, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups
            )
        return functional.linear(x, weight, layer.bias)

    def dense_gradient(self) -> Tensor:
        """Gradient of the effective weight at every position, after a backward pass that kept it."""
        if self.effective is None or self.effective.grad is None:
            raise SpecError("no dense gradient: set selection.dense_gradient before the forward pass")
        return self.effective.grad

    def plain(self, index: int) -> nn.Module:
        """An ordinary layer with sub-net `index`'s zeros written into its weight."""
        layer = copy.deepcopy(self.layer)
        with torch.no_grad():
            layer.weight.mul_(self.stack.mask(index))
        return layer


class SwitchableNorm(nn.Module):
    """One BatchNorm a sub-net; the selected one runs and is the only one that learns."""

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


class Supernet(nn.Module):
    """`count` sub-nets in one network; `select` picks the one that runs, `plain` cuts one out."""

    def __init__(
        self,
        network: nn.Module,
        count: int,
        *,
        rule: LayerRule | None = None,
        encoding: Encoding = "levels",
    ) -> None:
        super().__init__()
        if not 1 <= count <= MOST_SUBNETS:
            raise SpecError(f"{count} sub-nets: a supernet holds 1 to 255")
        self.count = count
        self.encoding: Encoding = encoding
        self.selection = Selection()
        chosen = masked_layer_names(network, rule or LayerRule())
        downstream = False
        for name, module in list(network.named_modules()):
            if name in chosen and isinstance(module, nn.Conv2d | nn.Linear):
                _replace(network, name, MaskedLayer(module, count, encoding, self.selection))
                downstream = True
            elif downstream and isinstance(module, _BatchNorm):
                _replace(network, name, SwitchableNorm(module, count, self.selection))
        self.network = network
        self._memory_format: torch.memory_format | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, classes] of the selected sub-net."""
        if self._memory_format is not None:
            x = lay_out(x, self._memory_format)
        return self.network(x)  # type: ignore[no-any-return]

    def arrange(self, memory_format: torch.memory_format) -> None:
        """Lay the weights out in this memory format now, and every batch when `forward` gets it."""
        self.to(memory_format=memory_format)
        self._memory_format = memory_format

    def select(self, index: int) -> None:
        """Make sub-net `index` (0 = densest) the one that runs from now on."""
        if not 0 <= index < self.count:
            raise SpecError(f"sub-net index {index}: this supernet holds 0 to {self.count - 1}")
        self.selection.index = index

    @property
    def masked_layers(self) -> dict[str, MaskedLayer]:
        """Masked layers by the name that the plain network's layer has."""
        return {n: m for n, m in self.network.named_modules() if isinstance(m, MaskedLayer)}

    @property
    def switchable_norms(self) -> dict[str, SwitchableNorm]:
        """Switchable BatchNorms by the name that the plain network's BatchNorm has."""
        return {n: m for n, m in self.network.named_modules() if isinstance(m, SwitchableNorm)}

    def plain(self, index: int) -> nn.Module:
        """Sub-net `index` as the plain network it was built from: no masks, ordinary BatchNorm."""
        switched = {
            id(module): module.plain(index)
            for module in self.network.modules()
            if isinstance(module, MaskedLayer | SwitchableNorm)
        }
        return copy.deepcopy(self.network, switched)  # the memo puts the plain layers in their places

    def sparsity(self, index: int) -> float:
        """Fraction of the masked layers' weights that sub-net `index` leaves out (synchronises)."""
        layers = self.masked_layers.values()
        kept = sum(int(layer.stack.mask(index).sum()) for layer in layers)
        return 1.0 - kept / sum(layer.weight.numel() for layer in layers)


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(root.get_submodule(parent), attribute, module)
