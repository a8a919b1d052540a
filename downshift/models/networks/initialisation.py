"""How every network of ours starts: He initialisation and the width multiplier."""

from __future__ import annotations

from typing import Literal

from torch import nn


def scaled(channels: int, width: float) -> int:
    """`channels` times the width multiplier, rounded, never below one."""
    return max(1, round(channels * width))


def he_initialise(network: nn.Module) -> None:
    """Draw every convolution and linear weight from N(0, gain^2 / fan_in); biases start at zero.

    He et al. 2015, equation 10. fan_in rather than fan_out because it counts a group's own inputs:
    it is right for depthwise convolutions, where torch's fan_out is too large by the number of groups.
    The gain is sqrt(2) before a ReLU and 1 for linear layers, which end our networks. BatchNorm keeps
    torch's start: the identity. Draws come from torch's global generator, in module order.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            gain_of: Literal["relu", "linear"] = "relu" if isinstance(module, nn.Conv2d) else "linear"
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity=gain_of)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
