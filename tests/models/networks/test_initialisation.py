"""He initialisation and the width multiplier."""

import pytest
import torch
from torch import nn

from downshift.models.networks.initialisation import he_initialise, scaled


@pytest.mark.parametrize(
    ("channels", "width", "expected"), [(16, 1.0, 16), (16, 2.0, 32), (16, 0.3, 5), (16, 0.01, 1)]
)
def test_scaled_rounds_and_never_reaches_zero(channels: int, width: float, expected: int) -> None:
    assert scaled(channels, width) == expected


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(64, 128, 3), (2 / (64 * 9)) ** 0.5),
        (nn.Conv2d(512, 512, 3, groups=512), (2 / 9) ** 0.5),
        (nn.Linear(400, 50), (1 / 400) ** 0.5),
    ],
    ids=["convolution", "depthwise", "linear"],
)
def test_weights_are_normal_with_variance_gain_over_fan_in(layer: nn.Module, expected: float) -> None:
    torch.manual_seed(0)
    he_initialise(layer)
    weight = layer.get_parameter("weight")
    assert weight.std().item() == pytest.approx(expected, rel=0.05)
    assert weight.mean().item() == pytest.approx(0.0, abs=0.05 * expected)


def test_biases_start_at_zero_and_batchnorm_as_the_identity() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))
    he_initialise(network)
    assert all(not network.get_parameter(f"{index}.bias").any() for index in range(3))
    assert network.get_parameter("1.weight").tolist() == [1.0] * 4
