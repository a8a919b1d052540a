"""When and how the masks of a supernet change during training: the schedule applied to the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from downshift.models.pattern import Block, NByM, Pattern
from downshift.trainer.errors import RecipeError
from downshift.trainer.masks.allocation import erk_densities, uniform_densities
from downshift.trainer.masks.blocks import block_sums, spread
from downshift.trainer.masks.pruning import Layers, drop_and_grow, keep_nested, n_by_m, trade_in_groups
from downshift.trainer.masks.schedule import Ramp, Updates, cosine_fraction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.models.supernet import MaskedLayer, Supernet
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
        if plan.choice.initial_sparsity > 0:
            with torch.no_grad():
                self._write([self._initial(ramp.initial) for ramp in plan.ramps], newcomers=False)

    def due(self, step: int, index: int, period: int) -> bool:
        """Whether training sub-net `index` at `step` must end in an update (nested: only the densest)."""
        if self.plan.nested:
            return index == 0 and self.plan.updates.due(step, 0, period)
        return self.plan.updates.due(step, index, period)

    @torch.no_grad()
    def update(self, step: int, index: int, gradients: Sequence[Tensor]) -> None:
        """Prune and regrow at `step`; `gradients` are the dense ones of sub-net `index`, one a layer.

        Nested masks all change at once; independent ones only sub-net `index`. A weight that enters the union
        of all sub-nets starts from zero. The only place of training that synchronises with the host.
        """
        magnitudes = [layer.weight.detach().abs() for layer in self.layers]
        masks = self.masks()
        if self.plan.nested:
            first = self._updated(step, 0, masks[0], magnitudes, gradients)
            inside = [torch.where(m, s, -1.0) for m, s in zip(first, magnitudes, strict=True)]
            rest = self._kept(range(1, self.count), step, inside)
            chain = [first]
            for layers in rest:
                chain.append([m & denser for m, denser in zip(layers, chain[-1], strict=True)])
            self._write(chain, newcomers=True)
        else:
            masks[index] = self._updated(step, index, masks[index], magnitudes, gradients)
            self._write(masks, newcomers=True)

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
        pattern = self.plan.patterns[index]
        if isinstance(pattern, NByM):
            return [
                _from_rows(trade_in_groups(_rows(k), _rows(s), _rows(g), pattern.m, fraction), k)
                for k, s, g in zip(kept, magnitudes, gradients, strict=True)
            ]
        pulls = [g.abs() for g in gradients]
        active = [units > 0 for units in self._units([k.float() for k in kept])]
        traded = drop_and_grow(active, self._units(magnitudes), self._units(pulls), fraction)
        return self._weights(traded)

    def _kept(self, indices: range, step: int, scores: Layers) -> list[Layers]:
        """Masks of sub-nets `indices` by score alone; for one pattern they come from one ranking."""
        plan = self.plan
        ramps = [plan.ramps[i] for i in indices]
        patterns = [plan.patterns[i] for i in indices]
        out: list[Layers] = []
        if any(isinstance(pattern, NByM) for pattern in patterns):
            for pattern, ramp in zip(patterns, ramps, strict=True):
                if not isinstance(pattern, NByM):
                    raise RecipeError(f"pattern {pattern}: N:M sub-nets stand alone")
                share = ramp.progress(step)
                out.append([_from_rows(n_by_m(_rows(s), pattern.n, pattern.m, share), s) for s in scores])
            return out
        sparsities = [ramp.sparsity(step) for ramp in ramps]
        units = self._units(scores)
        if plan.choice.allocation == "global":
            total = sum(s.numel() for s in units)
            ranked = keep_nested(units, [round(total * (1.0 - s)) for s in sparsities])
        else:
            ranked = _layerwise(units, [self._densities(s) for s in sparsities])
        return [self._weights(layers) for layers in ranked]

    def _densities(self, sparsity: float) -> list[float]:
        shapes = [tuple(layer.weight.shape) for layer in self.layers]
        allocate = uniform_densities if self.plan.choice.allocation == "uniform" else erk_densities
        return allocate(shapes, sparsity)

    def _initial(self, sparsity: float) -> Layers:
        """Starting masks by magnitude, with ERK densities as in the paper unless uniform was chosen."""
        units = self._units([layer.weight.detach().abs() for layer in self.layers])
        return self._weights(_layerwise(units, [self._densities(sparsity)])[0])

    def _units(self, scores: Layers) -> Layers:
        """What is kept or removed at once, flat, one tensor a layer: single scores, or sums over blocks."""
        block = self.plan.patterns[-1]
        return [(block_sums(s, block) if isinstance(block, Block) else s).reshape(-1) for s in scores]

    def _weights(self, units: Layers) -> Layers:
        """The inverse, for masks, in the shapes of the weights."""
        block, shapes = self.plan.patterns[-1], [layer.weight.shape for layer in self.layers]
        return [
            spread(unit, block, shape) if isinstance(block, Block) else unit.view(shape)
            for unit, shape in zip(units, shapes, strict=True)
        ]

    def _write(self, masks: Sequence[Layers], *, newcomers: bool) -> None:
        for position, layer in enumerate(self.layers):
            own = [layers[position] for layers in masks]
            if newcomers:
                before = _union([layer.stack.mask(i) for i in range(self.count)])
                layer.weight.masked_fill_(_union(own) & ~before, 0.0)
            layer.stack.assign(own)


def _layerwise(flat: Layers, densities: Sequence[Sequence[float]]) -> list[Layers]:
    per_layer = [
        keep_nested([s], [round(density[i] * s.numel()) for density in densities]) for i, s in enumerate(flat)
    ]
    return [[layer[i][0] for layer in per_layer] for i in range(len(densities))]


def _union(masks: Sequence[Tensor]) -> Tensor:
    return torch.stack(tuple(masks)).any(0)


def _rows(tensor: Tensor) -> Tensor:
    """A weight-shaped tensor as [rows, input channels]."""
    if tensor.dim() == 2:  # noqa: PLR2004 - a linear layer's weight
        return tensor
    return tensor.permute(0, 2, 3, 1).reshape(-1, tensor.shape[1])


def _from_rows(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_rows`, in the shape of `like`."""
    if like.dim() == 2:  # noqa: PLR2004 - a linear layer's weight
        return rows
    out, inputs, height, width = like.shape
    return rows.view(out, height, width, inputs).permute(0, 3, 1, 2)
