"""Any network as a supernet: which layers are masked, what a selection computes, what is cut out of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from downshift.models.errors import SpecError, UnknownName
from downshift.models.network import build
from downshift.models.pattern import Block
from downshift.models.supernet import LayerRule, Supernet, masked_layer_names


class Small(nn.Module):
    """Stem, depthwise and pointwise convolution, classifier; BatchNorm before and after the masked ones."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.pointwise = nn.Conv2d(4, 6, 1)
        self.after = nn.BatchNorm2d(6)
        self.classifier = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.norm(self.stem(x)))
        logits: Tensor = self.classifier(self.after(self.pointwise(x)).relu().mean((2, 3)))
        return logits


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def halved(supernet: Supernet) -> Supernet:
    """The sparser sub-net loses every negative weight."""
    for layer in supernet.masked_layers.values():
        layer.stack.assign([layer.weight > -99, layer.weight > 0])
    return supernet


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (LayerRule(), ("pointwise",)),
        (LayerRule(depthwise=True), ("depthwise", "pointwise")),
        (LayerRule(depthwise=True, pattern=Block(1, 4)), ("pointwise",)),
        (LayerRule(classifier=True), ("pointwise", "classifier")),
        (LayerRule(classifier=True, dense=("pointwise",)), ("classifier",)),
    ],
)
def test_the_rule_chooses_the_layers(rule: LayerRule, names: tuple[str, ...]) -> None:
    assert masked_layer_names(Small(), rule) == names
    assert tuple(Supernet(Small(), 2, rule=rule).masked_layers) == names


def test_layers_that_are_not_there_or_none_at_all_are_refused() -> None:
    with pytest.raises(UnknownName, match="unknown layer 'pointwize': did you mean 'pointwise'"):
        masked_layer_names(Small(), LayerRule(dense=("pointwize",)))
    with pytest.raises(SpecError, match="no layer of Small can be masked"):
        masked_layer_names(Small(), LayerRule(dense=("pointwise",)))


def test_batchnorm_is_switchable_exactly_where_it_sees_a_masked_layer() -> None:
    assert tuple(Supernet(Small(), 3).switchable_norms) == ("after",)
    assert tuple(Supernet(Small(), 3, rule=LayerRule(depthwise=True)).switchable_norms) == ("after",)


@pytest.mark.parametrize("encoding", ["levels", "bitmaps"])
@torch.no_grad()
def test_a_dense_supernet_computes_what_its_network_does(encoding: Any) -> None:
    expected = Small().eval()(images())
    supernet = Supernet(Small(), 2, encoding=encoding).eval()
    for index in range(2):
        supernet.select(index)
        torch.testing.assert_close(supernet(images()), expected)


@pytest.mark.parametrize("name", ["cifar-resnet20", "cifar-mobilenet-v1", "torchvision/resnet18"])
@torch.no_grad()
def test_a_plain_sub_net_computes_what_the_selected_one_does(name: str) -> None:
    torch.manual_seed(0)
    width = 1.0 if name.startswith("torchvision") else 0.25
    supernet = halved(Supernet(build(name, classes=5, width=width), 2, rule=LayerRule(classifier=True)))
    x = torch.randn(4, 3, 32, 32)
    outputs = []
    for index in range(2):
        supernet.select(index)
        supernet.train()(x)
        outputs.append(supernet.eval()(x))
        plain = supernet.plain(index).eval()
        torch.testing.assert_close(plain(x), outputs[-1])
        assert not {type(m).__name__ for m in plain.modules()} & {
            "MaskedLayer",
            "MaskedConv2d",
            "MaskedLinear",
            "SwitchableNorm",
            "LevelStack",
        }
    assert not torch.allclose(*outputs)
    assert plain.state_dict().keys() == build(name, classes=5, width=width).state_dict().keys()


def test_a_plain_sub_net_shares_nothing_with_the_supernet() -> None:
    supernet = halved(Supernet(Small(), 2))
    plain = supernet.plain(1)
    with torch.no_grad():
        for tensor in (*plain.parameters(), *plain.buffers()):
            tensor.zero_()
    assert supernet.get_parameter("network.stem.weight").any()
    assert supernet.masked_layers["pointwise"].weight.any()


def test_the_gradient_of_a_weight_is_masked_and_the_dense_one_is_not() -> None:
    supernet = halved(Supernet(Small(), 2))
    layer = supernet.masked_layers["pointwise"]
    supernet.select(1)
    supernet.selection.dense_gradient = True
    supernet(images()).square().sum().backward()
    outside = ~layer.stack.mask(1)
    assert layer.weight.grad is not None
    assert not layer.weight.grad[outside].any()
    dense = layer.take_dense_gradient()
    assert dense[outside].any()
    torch.testing.assert_close(dense[~outside], layer.weight.grad[~outside])


def test_the_dense_gradient_is_kept_only_when_asked_for() -> None:
    supernet = Supernet(Small(), 1)
    supernet(images()).sum().backward()
    with pytest.raises(SpecError, match="no dense gradient"):
        supernet.masked_layers["pointwise"].take_dense_gradient()


def test_only_the_selected_batchnorm_learns() -> None:
    supernet = Supernet(Small(), 2)
    supernet.select(1)
    supernet(images()).sum().backward()
    norm = supernet.switchable_norms["after"]
    assert norm.get_parameter("norms.0.weight").grad is None
    assert norm.get_parameter("norms.1.weight").grad is not None
    assert norm.get_buffer("norms.0.num_batches_tracked") == 0
    assert norm.get_buffer("norms.1.num_batches_tracked") == 1


def test_sparsity_is_that_of_the_masked_layers_together() -> None:
    supernet = Supernet(Small(), 2, rule=LayerRule(classifier=True))
    layers = supernet.masked_layers
    for layer, kept in zip(layers.values(), (6, 3), strict=True):
        mask = torch.zeros(layer.weight.numel(), dtype=torch.bool)
        mask[:kept] = True
        layer.stack.assign([torch.ones_like(mask), mask])
    assert supernet.sparsity(0) == 0.0
    assert supernet.sparsity(1) == pytest.approx(1 - 9 / 54)


def test_impossible_figures_are_refused() -> None:
    with pytest.raises(SpecError, match="256 sub-nets"):
        Supernet(Small(), 256)
    with pytest.raises(SpecError, match="sub-net index 2: this supernet holds 0 to 1"):
        Supernet(Small(), 2).select(2)
