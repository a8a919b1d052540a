"""SGD that leaves what is outside the active sub-nets bitwise alone, and is plain SGD inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional

from downshift.models.supernet import Supernet
from downshift.trainer.optimizer import MaskedSGD, ParameterGroups
from tests.trainer import transformers
from tests.trainer.small import CHANNELS, CLASSES, SIDE, noise, small_network, small_supernet

if TYPE_CHECKING:
    from torch import Tensor, nn


def backward(supernet: Supernet, seed: int = 0) -> None:
    images = noise(8, CHANNELS, SIDE, SIDE, seed=seed)
    loss(supernet, images).backward()  # type: ignore[no-untyped-call]


def loss(network: nn.Module, images: Tensor) -> Tensor:
    return functional.cross_entropy(network(images), torch.arange(8) % CLASSES)


def sgd(supernet: Supernet, *, nesterov: bool = True) -> MaskedSGD:
    return MaskedSGD(ParameterGroups.of(supernet), momentum=0.9, weight_decay=0.1, nesterov=nesterov)


@pytest.mark.parametrize("nesterov", [True, False])
def test_a_dense_supernet_takes_the_steps_of_torchs_sgd(nesterov: bool) -> None:
    supernet, reference = small_supernet(1), small_network()
    ours = sgd(supernet, nesterov=nesterov)
    decayed = [p for p in reference.parameters() if p.dim() > 1]
    others = [p for p in reference.parameters() if p.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": 0.1}, {"params": others}]
    theirs = torch.optim.SGD(
        groups,
        lr=0.05,
        momentum=0.9,
        nesterov=nesterov,
    )
    for seed in range(3):
        ours.zero_grad()
        backward(supernet, seed)
        ours.step(0.05, [torch.ones_like(m.weight) for m in supernet.masked_layers.values()])
        theirs.zero_grad()
        images = noise(8, CHANNELS, SIDE, SIDE, seed=seed)
        loss(reference, images).backward()  # type: ignore[no-untyped-call]
        theirs.step()
    for name, tensor in supernet.plain(0).state_dict().items():
        torch.testing.assert_close(tensor, reference.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_an_inactive_weight_and_its_velocity_stay_bitwise_through_decay_and_momentum() -> None:
    supernet = small_supernet(2)
    optimizer = sgd(supernet)
    layers = supernet.masked_layers
    everywhere = [torch.ones_like(layer.weight) for layer in layers.values()]
    backward(supernet)
    optimizer.step(0.1, everywhere)
    for layer in layers.values():
        layer.stack.assign([layer.weight > -9, layer.weight > 0])
    before = {name: (m.weight.detach().clone(), velocity_of(optimizer, name)) for name, m in layers.items()}
    assert all(velocity.abs().sum() > 0 for _, velocity in before.values())
    supernet.select(1)
    for seed in range(3):
        optimizer.zero_grad()
        backward(supernet, seed)
        optimizer.step(0.1, [layer.stack.mask(1).float() for layer in layers.values()])
    for name, layer in layers.items():
        weight, velocity = before[name]
        outside = ~layer.stack.mask(1)
        assert torch.equal(layer.weight[outside], weight[outside])
        assert torch.equal(velocity_of(optimizer, name)[outside], velocity[outside])
        assert not torch.equal(layer.weight[~outside], weight[~outside])


def velocity_of(optimizer: MaskedSGD, layer: str) -> torch.Tensor:
    return optimizer.velocity[f"network.{layer}.masked.weight"].clone()


def test_the_batchnorm_of_another_sub_net_is_left_alone() -> None:
    supernet = small_supernet(2)
    optimizer = sgd(supernet)
    supernet.select(1)
    backward(supernet)
    norm = next(iter(supernet.switchable_norms.values()))
    before = norm.norms[0].weight.detach().clone()  # type: ignore[operator]
    optimizer.step(0.1, [torch.ones_like(m.weight) for m in supernet.masked_layers.values()])
    assert torch.equal(norm.get_parameter("norms.0.weight"), before)
    assert not torch.equal(norm.get_parameter("norms.1.weight"), before)


def test_every_parameter_is_in_exactly_one_group() -> None:
    supernet = small_supernet(3)
    groups = ParameterGroups.of(supernet)
    named = [*groups.masked, *groups.decayed, *groups.undecayed, *groups.switched]
    assert sorted(named) == sorted(name for name, _ in supernet.named_parameters())
    assert set(groups.decayed) == {"network.stem.weight", "network.classifier.weight"}


def test_masked_weights_come_in_the_order_of_the_masks() -> None:
    """In attention, the input projection's module stands before the output's, its parameter behind."""
    supernet = Supernet(transformers.vit_b_16(), 1)
    weights = [layer.weight for layer in supernet.masked_layers.values()]
    masked = ParameterGroups.of(supernet).masked
    assert all(one is other for one, other in zip(masked.values(), weights, strict=True))


def test_a_layer_that_took_no_part_is_an_error() -> None:
    optimizer = sgd(small_supernet(1))
    with pytest.raises(ValueError, match="no gradient"):
        optimizer.step(0.1, [torch.ones_like(p) for p in optimizer.groups.masked.values()])
