"""Whoever reads a masked layer's weight gets it masked: the layer, a function, attention, a second place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from downshift.models.errors import SpecError
from downshift.models.supernet import LayerRule, Supernet

if TYPE_CHECKING:
    from collections.abc import Callable

EVERYTHING = LayerRule(classifier=True)


def rows(count: int = 3, *, tokens: int = 5, width: int = 8) -> Tensor:
    return torch.randn(count, tokens, width, generator=torch.Generator().manual_seed(0))


class Attention(nn.Module):
    """torch's attention, which hands its weights to a function instead of calling its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return out


class Functional(nn.Module):
    """A linear layer that is never called; its weight and bias are."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.linear.weight, self.linear.bias)


class Twice(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x).relu())
        return out


def encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "attention": (Attention, {"attention.in_proj_weight", "attention.out_proj.weight"}),
    "functional": (Functional, {"linear.weight"}),
    "twice": (Twice, {"first.weight"}),
    "encoder": (
        encoder,
        {"self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight"},
    ),
}


def halved(make: Callable[[], nn.Module]) -> Supernet:
    torch.manual_seed(0)
    supernet = Supernet(make(), 2, rule=EVERYTHING)
    for layer in supernet.masked_layers.values():
        layer.stack.assign([layer.weight > -99, layer.weight > 0])
    return supernet


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_a_sub_net_computes_what_its_network_does_with_zeros_written_in(name: str, training: bool) -> None:
    make, weights = NETWORKS[name]
    supernet = halved(make).train(training)
    assert {f"{n}.{layer.parameter}" for n, layer in supernet.masked_layers.items()} == weights
    torch.manual_seed(0)
    reference = make().train(training)
    for index in range(2):
        supernet.select(index)
        if index:
            with torch.no_grad():
                for weight in weights:
                    reference.get_parameter(weight).clamp_(min=0)
        expected = reference(rows())
        torch.testing.assert_close(supernet(rows()), expected)
        plain = supernet.plain(index).train(training)
        torch.testing.assert_close(plain(rows()), expected)
        assert type(plain.get_submodule(next(iter(weights)).rpartition(".")[0])).__name__[:6] != "Masked"
        assert plain.state_dict().keys() == reference.state_dict().keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_outside_the_mask_are_zero_and_the_dense_ones_are_not(name: str) -> None:
    supernet = halved(NETWORKS[name][0]).train()
    supernet.select(1)
    supernet.selection.dense_gradient = True
    supernet(rows()).square().sum().backward()
    for layer in supernet.masked_layers.values():
        outside = ~layer.stack.mask(1)
        assert layer.weight.grad is not None
        assert not layer.weight.grad[outside].any()
        assert layer.weight.grad.any()
        dense = layer.take_dense_gradient()
        assert dense[outside].any()
        torch.testing.assert_close(dense[~outside], layer.weight.grad[~outside])


def reflecting() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"))


@torch.no_grad()
def test_a_padding_mode_of_the_layer_is_kept() -> None:
    supernet = halved(reflecting)
    supernet.select(1)
    images = torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(supernet(images), supernet.plain(1)(images))


def weight_normed() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), parametrizations.weight_norm(nn.Linear(4, 4)))


def tied() -> nn.Module:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[2].weight
    return network


def lazy() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(4))


def crossing() -> nn.Module:
    return nn.Sequential(nn.MultiheadAttention(8, 2, kdim=4, vdim=4))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (weight_normed, r"layer 1: its weight is computed .*masks.dense = \['1'\]"),
        (tied, r"layer 1: 1.weight and 2.weight are one tied weight.*masks.dense = \['1'\]"),
        (lazy, "layer 1 has no weight yet"),
        (crossing, r"layer 0: its weight is computed .*kdim"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_layer_that_cannot_be_masked_is_named_and_can_stay_dense(make: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        Supernet(make(), 2, rule=EVERYTHING)
    if make in (weight_normed, tied):
        dense = ("1",) if make is weight_normed else ("1", "2")
        assert tuple(Supernet(make(), 2, rule=LayerRule(True, dense=dense)).masked_layers) == ("0",)
