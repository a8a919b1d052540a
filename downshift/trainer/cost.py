"""What a network's layers cost: how often one input makes use of each of their weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def weight_uses(network: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """Multiply-adds per weight of every convolution and linear layer, by name, for one input of `shape`.

    A convolution uses each weight once per output position (padding counts as input), a linear layer once per
    row. A layer that the network never calls is used 0 times.
    """
    layers = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    uses = dict.fromkeys(layers, 0)

    def count(name: str, layer: nn.Module, _: tuple[Any, ...], output: Tensor) -> None:
        channels = layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features
        uses[name] += output.numel() // int(channels)  # type: ignore[arg-type]

    handles = [layer.register_forward_hook(partial(count, name)) for name, layer in layers.items()]
    training = network.training
    try:
        first = next(network.parameters())
        network.eval()(torch.zeros(1, *shape, device=first.device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return uses
