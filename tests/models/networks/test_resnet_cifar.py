"""The shortcuts and the blocks of the CIFAR residual networks."""

import pytest
import torch
from torch import nn

from downshift.models.networks.resnet_cifar import BasicBlock, Bottleneck, Padding, make_shortcut


def test_padding_takes_every_second_pixel_and_centres_the_channels() -> None:
    x = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    y = Padding(1, 4, 2)(x)
    zero = [[0.0, 0.0], [0.0, 0.0]]
    assert y.tolist() == [[zero, [[1.0, 3.0], [7.0, 9.0]], zero, zero]]


def test_the_shortcut_is_the_identity_where_shapes_agree() -> None:
    assert isinstance(make_shortcut(8, 8, 1, "projection"), nn.Identity)
    assert isinstance(make_shortcut(8, 8, 1, "padding"), nn.Identity)


def test_a_padding_shortcut_has_no_parameters() -> None:
    assert not list(make_shortcut(8, 16, 2, "padding").parameters())


@pytest.mark.parametrize("kind", ["projection", "padding"])
@pytest.mark.parametrize(("stride", "side"), [(1, 7), (2, 4)])
def test_both_shortcuts_have_the_shape_of_the_convolutions(kind: str, stride: int, side: int) -> None:
    for block in (BasicBlock(4, 6, stride, kind), Bottleneck(4, 6, stride, kind)):  # type: ignore[arg-type]
        assert block(torch.randn(2, 4, 7, 7)).shape == (2, 6 * block.expansion, side, side)


def test_a_block_whose_convolutions_are_zero_passes_its_positive_input_on() -> None:
    block = BasicBlock(4, 4, 1, "projection").eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(block(x), x.relu())
