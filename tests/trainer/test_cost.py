"""How often one input uses each weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from downshift.trainer.cost import weight_uses


class Branches(nn.Module):
    """A strided convolution called once, one called twice, a linear layer, and one nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.strided = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.twice = nn.Conv2d(4, 4, 1, groups=4)
        self.linear = nn.Linear(4, 5)
        self.unused = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(self.strided(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def test_a_weight_is_used_once_per_output_position_and_call() -> None:
    assert weight_uses(Branches(), (3, 8, 6)) == {
        "strided.weight": 12,
        "twice.weight": 24,
        "linear.weight": 1,
        "unused.weight": 0,
    }


class Attentive(nn.Module):
    """Attention over the six rows of an image, whose projections are functions' arguments, and a token."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.token = nn.Parameter(torch.zeros(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, 0] + self.token
        logits: Tensor = self.attention(x, x, x, need_weights=False)[0].mean(1)
        return logits


def test_weights_that_functions_get_are_counted_too() -> None:
    assert weight_uses(Attentive(), (1, 6, 4)) == {
        "attention.in_proj_weight": 6,
        "attention.out_proj.weight": 6,
        "token": 0,
    }


def test_the_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    weight_uses(network, (1, 4, 4))
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
