"""Any `nn.Module` as a supernet: masked weights and switchable BatchNorm, one selection for all.

`Supernet(network, count)` puts, in place, masks over every chosen convolution, linear and attention layer and
replaces every BatchNorm that can see a masked layer's output by one BatchNorm a sub-net. Weights are shared;
masks and normalisation are not (AST, Yang et al., NeurIPS 2022; switchable BatchNorm: Yu et al., ICLR 2019).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from downshift.models.errors import SpecError, UnknownName
from downshift.models.layers.dataflow import norms_behind
from downshift.models.layers.masked_layer import (
    Encoding,
    MaskedLayer,
    Selection,
    mask,
    masked_part,
    unmask,
    weight_attribute,
)
from downshift.models.layers.switchable_norm import SwitchableNorm
from downshift.models.networks.memory_format import lay_out
from downshift.models.pattern import Pattern, Unstructured, parse_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_SUBNETS = 255  # what one byte a weight can tell apart


@dataclass(frozen=True)
class LayerRule:
    """Which layers are masked: all but the stem and the classifier, and what the flags add or take away.

    A layer is a convolution, a linear layer, or the input projection of `nn.MultiheadAttention`, which goes
    by the attention's own name.
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
    layers = [(name, m) for name, m in network.named_modules() if weight_attribute(m)]
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
        excluded |= not _fits(layer, rule.pattern)
        if not excluded:
            chosen.append(name)
    if not chosen:
        raise SpecError(f"no layer of {type(network).__name__} can be masked: it has {names}")
    return tuple(chosen)


class Supernet(nn.Module):
    """Several sub-nets in one network; `select` picks the one that runs, `plain` cuts one out.

        supernet = Supernet(network, sparsities=(0.5, 0.9))
        supernet = Supernet(network, sparsities=(0.5, 0.9), pattern="block 1x4")
        supernet = Supernet(network, pattern=("unstructured", "2:4", "1:4"))

    network: any module from images to logits; it is changed in place. sparsities: what training shall reach,
    the densest sub-net first. pattern: where zeros may fall, one for all sub-nets, or one each that also says
    how many. Without either, `count` sub-nets without a target. rule: which layers are masked.

    All sub-nets are dense until training, or whoever writes the masks, makes them sparse. Raises `SpecError`
    naming a layer that cannot be masked.
    """

    def __init__(  # noqa: PLR0913 - by keyword
        self,
        network: nn.Module,
        count: int | None = None,
        *,
        sparsities: Sequence[float] = (),
        pattern: str | Sequence[str] = "unstructured",
        rule: LayerRule | None = None,
        encoding: Encoding = "levels",
    ) -> None:
        super().__init__()
        texts = (pattern,) * len(sparsities) if isinstance(pattern, str) else tuple(pattern)
        self.patterns: tuple[Pattern, ...] = tuple(map(parse_pattern, texts))
        self.sparsities = tuple(sparsities) or tuple(each.sparsity or 0.0 for each in self.patterns)
        if len(self.sparsities) != len(self.patterns):
            raise SpecError(f"{len(self.sparsities)} sparsities for {len(self.patterns)} patterns")
        if count is None:
            count = len(self.patterns)
        elif self.patterns:
            raise SpecError(f"count {count}: sparsities and patterns give the number of sub-nets already")
        if not 1 <= count <= MOST_SUBNETS:
            raise SpecError(f"{count} sub-nets: a supernet holds 1 to 255")
        if rule is None:
            rule = LayerRule(pattern=self.patterns[-1]) if self.patterns else LayerRule()
        self.count = count
        self.encoding: Encoding = encoding
        self.selection = Selection()
        chosen = masked_layer_names(network, rule)
        check_maskable(network, chosen)
        norms = {id(network.get_submodule(name)): name for name in norms_behind(network, chosen)}
        for name in chosen:
            mask(network.get_submodule(name), count, encoding, self.selection)
        switchable: dict[int, SwitchableNorm] = {}
        for name, module in list(network.named_modules(remove_duplicate=False)):
            if isinstance(module, _BatchNorm) and id(module) in norms:
                _check_switchable(norms[id(module)], module)
                if id(module) not in switchable:
                    switchable[id(module)] = SwitchableNorm(module, count, self.selection)
                _replace(network, name, switchable[id(module)])
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
        """Shared weights and masks by the name that the plain network's layer has."""
        parts = {name: masked_part(module) for name, module in self.network.named_modules()}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def switchable_norms(self) -> dict[str, SwitchableNorm]:
        """Switchable BatchNorms by the name that the plain network's BatchNorm has."""
        return {n: m for n, m in self.network.named_modules() if isinstance(m, SwitchableNorm)}

    def plain(self, index: int) -> nn.Module:
        """Sub-net `index` as the plain network it was built from: no masks, ordinary BatchNorm."""
        switched = {
            id(module): module.plain(index)
            for module in self.network.modules()
            if isinstance(module, SwitchableNorm)
        }
        network = copy.deepcopy(self.network, switched)  # the memo puts the plain BatchNorms in their places
        for module in list(network.modules()):
            if masked_part(module) is not None:
                unmask(module, index)
        return network

    def sparsity(self, index: int) -> float:
        """Fraction of the masked layers' weights that sub-net `index` leaves out (synchronises)."""
        layers = self.masked_layers.values()
        kept = sum(int(layer.stack.mask(index).sum()) for layer in layers)
        return 1.0 - kept / sum(layer.weight.numel() for layer in layers)


def check_maskable(network: nn.Module, layers: tuple[str, ...]) -> None:
    """Raise `SpecError`, naming it, for one of `layers` whose weight is not one parameter of its own."""
    owners: dict[int, list[str]] = {}
    for name, module in network.named_modules():
        for attribute, parameter in module._parameters.items():
            owners.setdefault(id(parameter), []).append(f"{name}.{attribute}")
    for name in layers:
        layer = network.get_submodule(name)
        attribute = weight_attribute(layer)
        weight = layer._parameters.get(str(attribute))
        remedy = f"keep it dense: masks.dense = [{name!r}]"
        if weight is None:
            raise SpecError(
                f"layer {name}: its weight is computed from others (weight_norm, a parametrization, "
                f"an attention with kdim or vdim) and cannot be masked; {remedy}"
            )
        if isinstance(weight, nn.UninitializedParameter):
            raise SpecError(f"layer {name} has no weight yet: run one batch through the network first")
        if len(owners[id(weight)]) > 1:
            tied = " and ".join(owners[id(weight)])
            raise SpecError(f"layer {name}: {tied} are one tied weight, which cannot be masked; {remedy}")


def _fits(layer: nn.Module, pattern: Pattern) -> bool:
    """Whether zeros can fall so in the layer; one without a weight of its own is for `check_maskable`."""
    weight = getattr(layer, str(weight_attribute(layer)))
    if weight is None or isinstance(weight, nn.UninitializedParameter):
        return True
    return pattern.fits(tuple(weight.shape), int(getattr(layer, "groups", 1)))


def _check_switchable(name: str, norm: _BatchNorm) -> None:
    """Raise `SpecError` for a BatchNorm that no artifact can hold."""
    if norm.weight is None or norm.bias is None or norm.running_mean is None:
        raise SpecError(
            f"BatchNorm {name}: it follows a masked layer, so that it needs affine=True and "
            "track_running_stats=True"
        )


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(root.get_submodule(parent), attribute, module)
