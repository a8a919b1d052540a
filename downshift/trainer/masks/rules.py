"""How masks follow from scores: one rule for each kind of pattern, chosen in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, assert_never

import torch

from downshift.models.pattern import Block, Channel, NByM, Pattern, Unstructured
from downshift.trainer.errors import RecipeError
from downshift.trainer.masks.blocks import block_sums, spread
from downshift.trainer.masks.pruning import Layers, drop_and_grow, keep_nested, n_by_m, trade_in_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True)
class Goal:
    """What one sub-net's masks must keep at some step of the run.

    sparsity: of all masked weights. progress: position on the ramp, in [0, 1]. densities: the share that each
    layer keeps; None where one ranking of all layers decides.
    """

    sparsity: float
    progress: float
    densities: tuple[float, ...] | None


class MaskRule(Protocol):
    """Masks of one pattern. Scores and masks have the shapes of the weights, one tensor a layer."""

    def initial(self, scores: Layers, densities: Sequence[float]) -> Layers:
        """Masks at the start of a run: the largest scores of each layer, in its density."""

    def kept(self, scores: Layers, goals: Sequence[Goal]) -> list[Layers]:
        """Masks of the largest scores, one list for each goal; falling goals give nested masks."""

    def traded(self, masks: Layers, magnitudes: Layers, gradients: Sequence[Tensor], share: float) -> Layers:
        """The masks after the `share` weakest made way for as many with the largest dense gradients."""


Group = tuple[int, tuple[int, ...]]
"""A layer whose output channels can leave, and those that read them, as positions in the list of layers."""


def rule_of(pattern: Pattern, groups: Sequence[Group] = ()) -> MaskRule:
    """The rule of a pattern. groups: what channels can leave, for the pattern that removes them.

    Raises `RecipeError` where there are none.
    """
    match pattern:
        case Unstructured() | Block():
            return BlockRule(pattern)
        case NByM():
            return GroupRule(pattern)
        case Channel():
            if not groups:
                raise RecipeError(f"pattern {pattern}: no channel of this network can leave; choose another")
            return ChannelRule(tuple(groups), pattern.multiple)
        case _:
            assert_never(pattern)


@dataclass(frozen=True)
class BlockRule:
    """Blocks, of one weight or of several, are ranked by the sum of their scores.

    A smaller block at a layer's edge counts by the weights that it has, so sparsity is exact to one block.
    """

    block: Unstructured | Block

    def initial(self, scores: Layers, densities: Sequence[float]) -> Layers:
        """See `MaskRule.initial`."""
        return self.nested(scores, [densities])[0]

    def kept(self, scores: Layers, goals: Sequence[Goal]) -> list[Layers]:
        """See `MaskRule.kept`: one ranking serves all goals."""
        densities = [goal.densities for goal in goals if goal.densities is not None]
        if len(densities) == len(goals):
            return self.nested(scores, densities)
        total = sum(s.numel() for s in scores)
        counts = [round(total * (1.0 - goal.sparsity)) for goal in goals]
        ranked = keep_nested(self._sums(scores), counts, self._sizes(scores))
        return [self._weights(units, scores) for units in ranked]

    def nested(self, scores: Layers, densities: Sequence[Sequence[float]]) -> list[Layers]:
        """Masks of the largest scores of each layer, one list for each of the falling `densities`."""
        sums, sizes = self._sums(scores), self._sizes(scores)
        per_layer = [
            keep_nested([s], [round(own[i] * scores[i].numel()) for own in densities], [sizes[i]])
            for i, s in enumerate(sums)
        ]
        ranked = [[layer[i][0] for layer in per_layer] for i in range(len(densities))]
        return [self._weights(units, scores) for units in ranked]

    def traded(self, masks: Layers, magnitudes: Layers, gradients: Sequence[Tensor], share: float) -> Layers:
        """See `MaskRule.traded`: whole blocks change places."""
        active = [units > 0 for units in self._sums([mask.float() for mask in masks])]
        pulls = self._sums([gradient.abs() for gradient in gradients])
        return self._weights(drop_and_grow(active, self._sums(magnitudes), pulls, share), masks)

    def _sums(self, scores: Sequence[Tensor]) -> Layers:
        return [block_sums(score, self.block).reshape(-1) for score in scores]

    def _sizes(self, like: Layers) -> Layers:
        return [block_sums(torch.ones_like(one), self.block).reshape(-1).long() for one in like]

    def _weights(self, units: Layers, like: Layers) -> Layers:
        return [spread(unit, self.block, one.shape) for unit, one in zip(units, like, strict=True)]


@dataclass(frozen=True)
class GroupRule:
    """N of M consecutive input channels; the ramp prunes a growing share of all groups."""

    pattern: NByM

    def initial(self, scores: Layers, densities: Sequence[float]) -> Layers:
        """See `MaskRule.initial`: single weights, no groups yet."""
        return BlockRule(Unstructured()).initial(scores, densities)

    def kept(self, scores: Layers, goals: Sequence[Goal]) -> list[Layers]:
        """See `MaskRule.kept`."""
        n, m = self.pattern.n, self.pattern.m
        return [[_from_rows(n_by_m(_rows(s), n, m, goal.progress), s) for s in scores] for goal in goals]

    def traded(self, masks: Layers, magnitudes: Layers, gradients: Sequence[Tensor], share: float) -> Layers:
        """See `MaskRule.traded`: within groups, one weight for one."""
        return [
            _from_rows(trade_in_groups(_rows(k), _rows(s), _rows(g), self.pattern.m, share), k)
            for k, s, g in zip(masks, magnitudes, gradients, strict=True)
        ]


@dataclass(frozen=True)
class ChannelRule:
    """Channels are ranked by the mean score of the weights that leave with them.

    Layers in no group stay dense.
    Every layer keeps a `multiple` of channels, at least one, so that sparsity comes near its goal only.
    """

    groups: tuple[Group, ...]
    multiple: int

    def initial(self, scores: Layers, densities: Sequence[float]) -> Layers:
        """See `MaskRule.initial`: whole layers have no density of their own, so that all share one."""
        kept = sum(d * s.numel() for d, s in zip(densities, scores, strict=True))
        return self._nearest(scores, kept)

    def kept(self, scores: Layers, goals: Sequence[Goal]) -> list[Layers]:
        """See `MaskRule.kept`: one ranking serves all goals."""
        if any(goal.densities is not None for goal in goals):
            raise RecipeError(
                "pattern channel: it ranks the channels of all layers; set masks.allocation=global"
            )
        total = sum(s.numel() for s in scores)
        return [self._nearest(scores, total * (1.0 - goal.sparsity)) for goal in goals]

    def traded(self, masks: Layers, magnitudes: Layers, gradients: Sequence[Tensor], share: float) -> Layers:
        """See `MaskRule.traded`: whole channels change places, within each group."""
        active = [masks[producer].flatten(1).any(1) for producer, _ in self.groups]
        pulls = self._means([gradient.abs() for gradient in gradients])
        return self._masks(drop_and_grow(active, self._means(magnitudes), pulls, share), masks)

    def _nearest(self, scores: Layers, weights: float) -> Layers:
        """Masks of the best channels that keep nearly so many weights; more weights, more channels."""
        means = self._means(scores)

        def kept(count: int) -> int:
            return sum(int(mask.sum()) for mask in self._masks(self._best(means, count), scores))

        low, high = 0, sum(len(mean) for mean in means)
        while low < high:  # the fewest channels that keep as many weights
            middle = (low + high) // 2
            if kept(middle) < weights:
                low = middle + 1
            else:
                high = middle
        if low and weights - kept(low - 1) < kept(low) - weights:
            low -= 1
        return self._masks(self._best(means, low), scores)

    def _best(self, means: Layers, count: int) -> Layers:
        """A bool for each channel of each group: the `count` best of all, rounded up within each group."""
        active = []
        for mean, chosen in zip(means, keep_nested(means, [count])[0], strict=True):
            kept = max(1, -(-int(chosen.sum()) // self.multiple)) * self.multiple
            order = mean.argsort(descending=True, stable=True)[:kept]
            active.append(torch.zeros_like(chosen).scatter(0, order, value=True))
        return active

    def _means(self, scores: Sequence[Tensor]) -> Layers:
        """For each group, the mean score of each channel's weights, in the producer and in all consumers."""
        means = []
        for producer, consumers in self.groups:
            parts = [scores[producer].flatten(1), *(scores[i].transpose(0, 1).flatten(1) for i in consumers)]
            means.append(torch.cat(parts, dim=1).mean(1))
        return means

    def _masks(self, active: Layers, like: Layers) -> Layers:
        masks = [torch.ones_like(one, dtype=torch.bool) for one in like]
        for (producer, consumers), kept in zip(self.groups, active, strict=True):
            masks[producer] &= kept.view(-1, 1, 1, 1)
            for consumer in consumers:
                masks[consumer] &= kept.view(1, -1, 1, 1)
        return masks


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
