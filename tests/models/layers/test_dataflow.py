"""A BatchNorm is switched when data reach it from a masked layer, in whatever order they are registered."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from downshift.models.errors import SpecError
from downshift.models.layers.dataflow import norms_behind
from downshift.models.network import build
from downshift.models.supernet import Supernet


class Shuffled(nn.Module):
    """Registers its BatchNorms before and after, never beside, the convolutions that they follow."""

    def __init__(self, *, branches: bool = False, affine: bool = True) -> None:
        super().__init__()
        self.after = nn.BatchNorm2d(4, affine=affine)
        self.stem = nn.Conv2d(3, 4, 3)
        self.body = nn.Conv2d(4, 4, 1)
        self.before = nn.BatchNorm2d(4)
        self.branches = branches

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(self.stem(x))
        if self.branches and x.sum() > 0:
            x = -x
        out: Tensor = self.after(self.body(x))
        return out


def test_data_decide_not_registration() -> None:
    assert norms_behind(Shuffled(), ("body",)) == ("after",)
    assert norms_behind(Shuffled(), ("stem",)) == ("after", "before")
    assert tuple(Supernet(Shuffled(), 2).switchable_norms) == ("after",)


def test_a_network_that_cannot_be_traced_has_all_its_batchnorms_switched() -> None:
    assert norms_behind(Shuffled(branches=True), ("body",)) == ("after", "before")


class Reading(nn.Module):
    """Uses a convolution's weight and a BatchNorm's attributes without calling the convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.body = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.conv2d(self.stem(x), self.body.weight)
        out: Tensor = self.norm(x).view(len(x), self.norm.num_features, -1)
        return out


def test_a_weight_that_a_function_reads_counts_as_its_layer() -> None:
    supernet = Supernet(Reading(), 2)
    assert tuple(supernet.switchable_norms) == ("norm",)
    assert supernet(torch.randn(2, 3, 4, 4)).shape == (2, 4, 16)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = supernet.switchable_norms["norm"].nonsense


class Everywhere(nn.Module):
    """One BatchNorm under two names, called before and behind the masked layer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.same = self.norm
        self.stem = nn.Conv2d(3, 3, 1)
        self.body = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.same(self.body(self.norm(self.stem(x))))
        return out


def test_a_batchnorm_under_two_names_is_switched_under_both() -> None:
    supernet = Supernet(Everywhere(), 2)
    assert supernet.network.norm is supernet.network.same
    assert tuple(supernet.switchable_norms) == ("norm",)
    plain = supernet.plain(1)
    assert plain.norm is plain.same
    assert isinstance(plain.norm, nn.BatchNorm2d)


def test_every_batchnorm_of_our_networks_but_the_stems_is_switched() -> None:
    for name in ("cifar-resnet20", "cifar-vgg19-bn", "torchvision/resnet18", "torchvision/densenet121"):
        network = build(name, classes=3)
        norms = [n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]
        stem = 3 if "densenet" in name else 1  # its first block's first two read the stem alone
        assert len(Supernet(network, 2).switchable_norms) in (len(norms) - 1, len(norms) - stem + 1)


def test_a_batchnorm_without_parameters_is_named() -> None:
    with pytest.raises(SpecError, match=r"BatchNorm after: it follows a masked layer.*affine=True"):
        Supernet(Shuffled(affine=False), 2)
