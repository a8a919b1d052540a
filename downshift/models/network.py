"""The networks there are: names, default input sizes, and `build`.

A further network is one file in `downshift/models/networks` and one line in the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from downshift.models.errors import SpecError, UnknownName
from downshift.models.networks import own_network, torchvision_network
from downshift.models.networks.mobilenet import MobileNetV1
from downshift.models.networks.resnet_cifar import BasicBlock, Bottleneck, CifarResNet
from downshift.models.networks.vgg import Vgg19
from downshift.models.networks.wide_resnet import WideResNet

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

_CIFAR = 32
_FOUR_STAGES = (64, 128, 256, 512)
_TORCHVISION = "torchvision/"


@dataclass(frozen=True)
class Network:
    """One architecture: `make(classes=, width=, channels=)` returns it, `size` is its usual image side."""

    name: str
    size: int
    make: Callable[..., nn.Module]


def _thin_resnet(depth: int) -> Callable[..., nn.Module]:
    """He et al.'s CIFAR network of `depth` = 6n + 2 layers: three stages of n basic blocks."""
    blocks = (depth - 2) // 6
    return partial(CifarResNet, block=BasicBlock, depths=(blocks,) * 3, widths=(16, 32, 64))


_NETWORKS = {
    network.name: network
    for network in (
        Network("cifar-resnet20", _CIFAR, _thin_resnet(20)),
        Network("cifar-resnet32", _CIFAR, _thin_resnet(32)),
        Network("cifar-resnet56", _CIFAR, _thin_resnet(56)),
        Network("cifar-resnet20-padding", _CIFAR, partial(_thin_resnet(20), shortcut="padding")),
        Network("cifar-resnet32-padding", _CIFAR, partial(_thin_resnet(32), shortcut="padding")),
        Network("cifar-resnet56-padding", _CIFAR, partial(_thin_resnet(56), shortcut="padding")),
        Network(
            "cifar-resnet18",
            _CIFAR,
            partial(CifarResNet, block=BasicBlock, depths=(2, 2, 2, 2), widths=_FOUR_STAGES),
        ),
        Network(
            "cifar-resnet50",
            _CIFAR,
            partial(CifarResNet, block=Bottleneck, depths=(3, 4, 6, 3), widths=_FOUR_STAGES),
        ),
        Network("cifar-wrn22-2", _CIFAR, partial(WideResNet, depth=22, widen=2)),
        Network("cifar-vgg19-bn", _CIFAR, Vgg19),
        Network("cifar-mobilenet-v1", _CIFAR, MobileNetV1),
    )
}


def names() -> tuple[str, ...]:
    """Every name `find` and `build` accept: ours, then `torchvision/...`."""
    return *_NETWORKS, *(_TORCHVISION + name for name in torchvision_network.architectures())


def find(name: str) -> Network:
    """The named network; raises `UnknownName` listing those that exist.

    `file.py:function` and `package.module:function` name a function that builds one.
    """
    if name in _NETWORKS:
        return _NETWORKS[name]
    if own_network.is_own(name):
        return Network(name, own_network.SIDE, partial(own_network.make, name))
    architecture = name.removeprefix(_TORCHVISION)
    if architecture == name or architecture not in torchvision_network.architectures():
        raise UnknownName("network", name, names())
    return Network(
        name, torchvision_network.input_size(architecture), partial(torchvision_network.make, architecture)
    )


def build(name: str, *, classes: int, width: float = 1.0, channels: int = 3) -> nn.Module:
    """A freshly initialised network: float32 [N, channels, H, W] -> logits [N, classes].

    `width` multiplies the channels of every layer. Weights come from torch's global generator, so equal
    `torch.manual_seed`s give equal networks. Raises `UnknownName`, and `SpecError` for impossible figures.
    """
    if classes < 1:
        raise SpecError(f"classes {classes}: a classifier needs at least one")
    if not 0.0 < width <= 64.0:  # noqa: PLR2004 - beyond that it is a typing error
        raise SpecError(f"width {width}: the multiplier must be in (0, 64]")
    if channels < 1:
        raise SpecError(f"channels {channels}: images have at least one")
    return find(name).make(classes=classes, width=width, channels=channels)
