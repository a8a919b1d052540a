"""When and how the masks of a supernet change during training: the schedule applied to the weights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from downshift.models.layers.dataflow import channel_groups
from downshift.trainer.errors import RecipeError
from downshift.trainer.masks.allocation import erk_densities, uniform_densities
from downshift.trainer.masks.rules import Goal, Group, rule_of
from downshift.trainer.masks.schedule import Ramp, Updates, cosine_fraction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.models.layers.masked_layer import MaskedLayer
    from downshift.models.pattern import Pattern
    from downshift.models.supernet import Supernet
    from downshift.trainer.masks.pruning import Layers
    from downshift.trainer.recipe import MasksChoice, Recipe


@dataclass(frozen=True)
class MaskPlan:
    """Everything about masks that a recipe fixes before the first step; sub-nets densest first."""

    choice: MasksChoice
    patterns: tuple[Pattern, ...]
    ramps: tuple[Ramp, ...]
    updates: Updates

    @classmethod
    def of(cls, recipe: Recipe, steps: int) -> MaskPlan:
        """The plan of a run of `steps` optimizer steps."""
        choice = recipe.masks
        start, end, stop = (round(part * steps) for part in (choice.start, choice.end, choice.stop))
        last = stop + (choice.offset + 1) * len(recipe.sparsities)
        if last > steps:
            raise RecipeError(
                f"a run of {steps} steps: the last mask update would fall on step {last}; "
                "raise run.epochs, or lower masks.stop or masks.offset"
            )
        ramps = tuple(
            Ramp(start, end, min(choice.initial_sparsity, final), final) for final in recipe.sparsities
        )
        return cls(choice, recipe.patterns, ramps, Updates(choice.interval, choice.offset, stop))

    @property
    def nested(self) -> bool:
        """Whether one ranking serves all sub-nets."""
        return self.choice.form == "nested"

    def regrow_fraction(self, step: int) -> float:
        """Share of active weights traded for inactive ones at `step`; none from the last update on."""
        if step >= self.updates.stop:
            return 0.0
        return cosine_fraction(step, self.updates.stop, self.choice.regrow)


class Masking:
    """The one owner of a supernet's masks while it trains; state lives in the supernet's buffers alone."""

    def __init__(self, supernet: Supernet, plan: MaskPlan) -> None:
        self.plan = plan
        self.layers: list[MaskedLayer] = list(supernet.masked_layers.values())
        self.count = supernet.count
        self._groups = _groups(supernet)
        if plan.choice.initial_sparsity > 0:
            with torch.no_grad():
                self._write([self._initial(index) for index in range(self.count)])

    def due(self, step: int, index: int, period: int) -> bool:
        """Whether training sub-net `index` at `step` must end in an update (nested: only the densest)."""
        if self.plan.nested:
            return index == 0 and self.plan.updates.due(step, 0, period)
        return self.plan.updates.due(step, index, period)

    @torch.no_grad()
    def update(self, step: int, index: int, gradients: Sequence[Tensor]) -> Layers:
        """Prune and regrow at `step`; `gradients` are the dense ones of sub-net `index`, one a layer.

        Nested masks all change at once; independent ones only sub-net `index`. Returns, one bool tensor a
        layer, the weights that entered the union of all sub-nets: they start from zero, and what they were
        when they left it ranks nowhere. With independent masks, a weight that another sub-net holds enters as
        that one trained it. The only place of training that synchronises with the host.
        """
        masks = self.masks()
        unions = [layer.stack.union() for layer in self.layers]
        magnitudes = [
            torch.where(union, layer.weight.detach().abs(), 0.0)
            for union, layer in zip(unions, self.layers, strict=True)
        ]
        if self.plan.nested:
            first = self._updated(step, 0, masks[0], magnitudes, gradients)
            inside = [torch.where(m, s, -1.0) for m, s in zip(first, magnitudes, strict=True)]
            rest = self._kept(range(1, self.count), step, inside)
            chain = [first]
            for layers in rest:
                chain.append([m & denser for m, denser in zip(layers, chain[-1], strict=True)])
            masks = chain
        else:
            masks[index] = self._updated(step, index, masks[index], magnitudes, gradients)
        self._write(masks)
        newcomers = [layer.stack.union() & ~before for layer, before in zip(self.layers, unions, strict=True)]
        for layer, entered in zip(self.layers, newcomers, strict=True):
            layer.weight.masked_fill_(entered, 0.0)
        return newcomers

    def masks(self) -> list[Layers]:
        """Every sub-net's masks, densest first, one bool tensor a layer in the weight's shape."""
        return [[layer.stack.mask(i) for layer in self.layers] for i in range(self.count)]

    def _updated(
        self, step: int, index: int, masks: Layers, magnitudes: Layers, gradients: Sequence[Tensor]
    ) -> Layers:
        inside = [torch.where(m, s, -1.0) for m, s in zip(masks, magnitudes, strict=True)]
        kept = self._kept(range(index, index + 1), step, inside)[0]
        fraction = self.plan.regrow_fraction(step)
        if fraction <= 0:
            return kept
        return rule_of(self.plan.patterns[index], self._groups).traded(kept, magnitudes, gradients, fraction)

    def _kept(self, indices: range, step: int, scores: Layers) -> list[Layers]:
        """Masks of sub-nets `indices` by score alone; those of one pattern come from one ranking."""
        out: list[Layers] = []
        for pattern, same in groupby(indices, key=self.plan.patterns.__getitem__):
            out += rule_of(pattern, self._groups).kept(scores, [self._goal(index, step) for index in same])
        return out

    def _goal(self, index: int, step: int) -> Goal:
        ramp = self.plan.ramps[index]
        sparsity = ramp.sparsity(step)
        whole = self.plan.choice.allocation == "global"
        return Goal(sparsity, ramp.progress(step), None if whole else self._densities(sparsity))

    def _densities(self, sparsity: float) -> tuple[float, ...]:
        shapes = [tuple(layer.weight.shape) for layer in self.layers]
        allocate = uniform_densities if self.plan.choice.allocation == "uniform" else erk_densities
        return tuple(allocate(shapes, sparsity))

    def _initial(self, index: int) -> Layers:
        """Starting masks by magnitude, with ERK densities as in the paper unless uniform was chosen."""
        magnitudes = [layer.weight.detach().abs() for layer in self.layers]
        densities = self._densities(self.plan.ramps[index].initial)
        return rule_of(self.plan.patterns[index], self._groups).initial(magnitudes, densities)

    def _write(self, masks: Sequence[Layers]) -> None:
        for position, layer in enumerate(self.layers):
            layer.stack.assign([layers[position] for layers in masks])


def _groups(supernet: Supernet) -> tuple[Group, ...]:
    """The channels that can leave, by the positions of their layers."""
    position = {name: index for index, name in enumerate(supernet.masked_layers)}
    return tuple(
        (position[group.producer], tuple(position[each] for each in group.consumers))
        for group in channel_groups(supernet.network, position)
    )
