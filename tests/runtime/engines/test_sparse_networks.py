"""Whole sparse networks on our kernels, with every instruction set, held to eager torch."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from downshift.runtime import _kernels
from downshift.runtime.engines.sparse_network import network
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.shrink import shrunk
from tests.runtime.lowering.test_networks import OURS, exported, trained_looking
from tests.runtime.small_onnx import normal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from downshift.runtime.lowering.graph import Graph

TORCHVISION = ("resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "regnet_y_400mf")
TOLERANCE = 1e-4  # of the largest logit
IMAGES = 2


def without(module: nn.Module, sparsity: float) -> nn.Module:
    """The network with that share of every convolution's weights removed at random."""
    generator = torch.Generator().manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups == 1:
            kept = torch.rand(layer.weight.shape, generator=generator) >= sparsity
            layer.weight.data.mul_(kept)
            layer.weight.data.mul_((1.0 - sparsity) ** -0.5)  # activations stay of ordinary size
    return module


@cache
def eager(name: str, width: float, size: int) -> tuple[Graph, NDArray[np.float32]]:
    """What the kernels compile, and what torch answers."""
    module = without(trained_looking(name, width), 0.9)
    with torch.inference_mode():
        expected = module(torch.from_numpy(normal(IMAGES, 3, size, size))).numpy()
    return shrunk(lower(exported(module, size, "traced"))), expected


def agrees(name: str, width: float, size: int, isa: str) -> None:
    graph, expected = eager(name, width, size)
    answered = network(graph).compile(_kernels.Workers(2), isa=isa).run(normal(IMAGES, 3, size, size))
    assert np.isfinite(expected).all()
    assert np.abs(answered - expected).max() / np.abs(expected).max() < TOLERANCE


@pytest.mark.parametrize("isa", _kernels.isas())
@pytest.mark.parametrize("name", OURS)
def test_every_network_of_ours_answers_what_torch_answers(name: str, isa: str) -> None:
    agrees(name, 0.25, 32, isa)


@pytest.mark.parametrize("isa", _kernels.isas())
@pytest.mark.parametrize("architecture", TORCHVISION)
def test_networks_of_torchvision_answer_what_torch_answers(architecture: str, isa: str) -> None:
    agrees(f"torchvision/{architecture}", 1.0, 64, isa)


def test_vgg_of_torchvision_with_a_narrow_classifier_answers_what_torch_answers() -> None:
    """Its own classifier has 100 million weights more, of an operator that this one has as well."""
    module = trained_looking("torchvision/vgg16_bn", 1.0)
    module.classifier = nn.Sequential(nn.Linear(512 * 7 * 7, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 5))
    module = without(module, 0.9).eval()
    images = normal(1, 3, 224, 224)
    with torch.inference_mode():
        expected = module(torch.from_numpy(images)).numpy()
    made = network(lower(exported(module, 224, "traced")))
    answered = made.compile(_kernels.Workers(2)).run(images)
    assert np.abs(answered - expected).max() / np.abs(expected).max() < TOLERANCE
