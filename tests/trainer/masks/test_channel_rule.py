"""Whole channels leave: what can, what must stay, and that sub-nets are nested and near their goals."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.nn import functional

from downshift.models.layers.dataflow import ChannelGroup, channel_groups
from downshift.models.network import build
from downshift.models.pattern import Channel
from downshift.models.supernet import Supernet
from downshift.runtime.lowering.shrink import WIDTH
from downshift.trainer.errors import RecipeError
from downshift.trainer.masks.masking import Masking, MaskPlan
from downshift.trainer.masks.rules import ChannelRule, Goal, rule_of
from downshift.trainer.recipe_toml import load

if TYPE_CHECKING:
    from torch import Tensor

CHAIN = ChannelRule(((0, (1,)),), multiple=2)


class Block(nn.Module):
    """A residual block: only the channels between its two convolutions can leave."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.first, self.norm = nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        x = x + self.second(functional.relu(self.norm(self.first(x))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def layers(*importance: float) -> list[Tensor]:
    """Scores of two 1x1 convolutions, 3 -> C -> 2: every weight of channel i has importance i."""
    values = torch.tensor(importance, dtype=torch.float32)
    return [values.view(-1, 1, 1, 1).expand(-1, 3, 1, 1), values.view(1, -1, 1, 1).expand(2, -1, 1, 1)]


def channels(masks: list[Tensor]) -> list[int]:
    assert torch.equal(masks[0].flatten(1).any(1), masks[1].transpose(0, 1).flatten(1).any(1))
    return masks[0].flatten(1).any(1).nonzero().flatten().tolist()  # type: ignore[no-any-return]


def goal(sparsity: float) -> Goal:
    return Goal(sparsity, 1.0, None)


def test_only_channels_that_no_residual_stream_carries_can_leave() -> None:
    names = ("first", "second")
    assert channel_groups(Block(), names) == (ChannelGroup("first", ("second",)),)
    assert channel_groups(Block(), ("stem", *names)) == (ChannelGroup("first", ("second",)),)
    assert channel_groups(Block(), ("first",)) == (), "its reader is not masked"


def test_every_block_of_a_resnet_has_one_group_before_and_after_it_is_a_supernet() -> None:
    network = build("cifar-resnet20", classes=10)
    wanted = {f"blocks.{i}.conv1": (f"blocks.{i}.conv2",) for i in range(9)}
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]

    def found() -> dict[str, tuple[str, ...]]:
        return {group.producer: group.consumers for group in channel_groups(network, names)}

    assert found() == wanted
    Supernet(network, 2)
    assert found() == wanted


def test_channels_leave_producer_and_consumer_in_the_order_of_their_scores() -> None:
    masks = CHAIN.kept(layers(3, 1, 4, 2), [goal(0.0), goal(0.5), goal(0.9)])
    assert [channels(each) for each in masks] == [[0, 1, 2, 3], [0, 2], [0, 2]]
    assert all(Channel().holds(mask.numpy()) for each in masks for mask in each)


def test_a_layer_keeps_a_multiple_of_channels() -> None:
    masks = CHAIN.kept(layers(6, 5, 4, 3, 2, 1), [goal(0.4)])[0]
    assert len(channels(masks)) == 4, "three would do, and run no faster"


def test_trading_changes_whole_channels() -> None:
    before = CHAIN.kept(layers(3, 1, 4, 2), [goal(0.5)])[0]
    after = CHAIN.traded(before, layers(3, 1, 4, 2), layers(0, 9, 0, 1), 0.5)
    assert (channels(before), channels(after)) == ([0, 2], [1, 2])


def test_layers_of_densities_of_their_own_are_refused_with_the_remedy() -> None:
    with pytest.raises(RecipeError, match=r"masks\.allocation=global"):
        CHAIN.kept(layers(1, 2), [Goal(0.5, 1.0, (0.5, 0.5))])


def test_a_network_without_such_channels_is_refused() -> None:
    with pytest.raises(RecipeError, match="no channel of this network can leave"):
        rule_of(Channel())


def test_widths_are_those_that_engines_are_given() -> None:
    assert Channel.multiple == WIDTH


def test_the_recipes_sub_nets_are_nested_and_near_their_sparsities() -> None:
    recipe = load("cifar10-resnet20-channel")
    supernet = Supernet(build("cifar-resnet20", classes=10), len(recipe.sparsities))
    steps = 1000
    masking = Masking(supernet, MaskPlan.of(recipe, steps))
    gradients = [torch.rand_like(layer.weight) for layer in masking.layers]
    masking.update(round(0.7 * steps), 0, gradients)
    stacks = masking.masks()
    for denser, sparser in pairwise(stacks):
        assert all(not (b & ~a).any() for a, b in zip(denser, sparser, strict=True))
    assert all(Channel().holds(mask.numpy()) for masks in stacks for mask in masks)
    found = [supernet.sparsity(index) for index in range(len(recipe.sparsities))]
    assert found == pytest.approx(list(recipe.sparsities), abs=0.05)
