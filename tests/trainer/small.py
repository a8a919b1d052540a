"""Small recipes and supernets that the trainer's tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from downshift.models.networks.resnet_cifar import BasicBlock, CifarResNet
from downshift.models.supernet import Supernet
from downshift.trainer.recipe_toml import parse

if TYPE_CHECKING:
    from torch import Tensor, nn

    from downshift.models.layers.masked_layer import Encoding
    from downshift.models.supernet import LayerRule
    from downshift.trainer.recipe import Recipe

CLASSES = 4
CHANNELS = 3
SIDE = 8


def small_recipe(**sections: dict[str, Any]) -> Recipe:
    """Digits on a narrow ResNet-20 for two epochs, with values of these sections replaced."""
    values: dict[str, dict[str, Any]] = {
        "network": {"name": "cifar-resnet20", "width": 0.125},
        "data": {"name": "digits", "validation": 200},
        "run": {"epochs": 2, "batch_size": 256, "recalibrate": 2},
        "subnets": {"sparsities": [0.5, 0.8]},
        "masks": {"interval": 2, "offset": 0},
    }
    for name, section in sections.items():
        values[name] = section if name == "subnets" else values.get(name, {}) | section
    return parse(values)


def small_network(seed: int = 0) -> nn.Module:
    """A ResNet of three blocks, 4 to 16 channels wide."""
    torch.manual_seed(seed)
    return CifarResNet(
        block=BasicBlock, depths=(1, 1, 1), widths=(4, 8, 16), classes=CLASSES, channels=CHANNELS
    )


def small_supernet(count: int = 2, encoding: Encoding = "levels", rule: LayerRule | None = None) -> Supernet:
    """A supernet of `small_network`, every sub-net still dense."""
    return Supernet(small_network(), count, rule=rule, encoding=encoding)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers that depend on the seed alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
