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
    assert weight_uses(Branches(), (3, 8, 6)) == {"strided": 12, "twice": 24, "linear": 1, "unused": 0}


def test_the_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    weight_uses(network, (1, 4, 4))
    assert network.training
    assert not network[0]._forward_hooks
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
