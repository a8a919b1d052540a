"""The pre-activation block of the wide residual networks."""

import torch
from torch import nn

from downshift.models.networks.wide_resnet import PreActivationBlock, WideResNet


def test_the_identity_shortcut_carries_the_raw_input_negative_values_included() -> None:
    block = PreActivationBlock(4, 4, 1).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x)


def test_a_projection_reads_the_activated_input() -> None:
    block = PreActivationBlock(4, 8, 2).eval()
    nn.init.zeros_(block.conv2.weight)
    assert not block(-torch.rand(2, 4, 6, 6)).any()


def test_depth_counts_the_convolutions_projections_included() -> None:
    network = WideResNet(depth=22, widen=2, classes=10)
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 22
