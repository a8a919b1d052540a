"""Networks train in the fastest memory format that torch does not crash in."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from downshift.models.network import build
from downshift.models.networks.memory_format import lay_out, memory_format
from downshift.models.supernet import Supernet

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        (nn.Conv2d(8, 16, 1, stride=2), torch.contiguous_format),
        (nn.Conv2d(3, 16, 1, stride=(1, 2)), torch.contiguous_format),
        (nn.Conv2d(32, 32, 1, stride=2, groups=4), torch.contiguous_format),
        (nn.Conv2d(16, 16, 1, stride=2), torch.channels_last),
        (nn.Conv2d(8, 16, 1), torch.channels_last),
        (nn.Conv2d(8, 16, 3, stride=2), torch.channels_last),
    ],
)
def test_narrow_strided_1x1_convolutions_are_trained_contiguously_on_a_cpu(
    layer: nn.Module, wanted: torch.memory_format
) -> None:
    network = nn.Sequential(nn.ReLU(), layer)
    assert memory_format(network, CPU) == wanted
    assert memory_format(network, CUDA) == torch.channels_last


def test_full_width_networks_keep_the_faster_format() -> None:
    assert memory_format(build("cifar-resnet20", classes=10), CPU) == torch.channels_last
    assert memory_format(build("cifar-resnet20", classes=10, width=0.5), CPU) == torch.contiguous_format


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wanted", [torch.contiguous_format, torch.channels_last])
def test_a_batch_is_laid_out_so_that_torch_sees_the_format(
    channels: int, wanted: torch.memory_format
) -> None:
    """The strides of a one-channel batch fit both formats: only those of a fresh tensor are unambiguous."""
    images = torch.randn(2, 5, 4, channels).permute(0, 3, 1, 2)
    found = lay_out(images, wanted)
    assert torch.equal(found, images)
    assert found.stride() == torch.empty(images.shape, memory_format=wanted).stride()
    assert lay_out(found, wanted) is found


def test_activations_inside_a_supernet_follow_its_format() -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3))
    supernet = Supernet(network, 2)
    seen: list[torch.Tensor] = []
    network[1].register_forward_hook(lambda _, inputs, output: seen.extend((*inputs, output)))
    for wanted in (torch.contiguous_format, torch.channels_last):
        supernet.arrange(wanted)
        seen.clear()
        supernet(torch.randn(2, 9, 9, 1).permute(0, 3, 1, 2))
        assert [tensor.is_contiguous(memory_format=wanted) for tensor in seen] == [True, True]


PROGRAM = """
import torch
from torch import nn
from downshift.models.networks.memory_format import memory_format
from downshift.models.supernet import Supernet
network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 16, 1, stride=2, bias=False))
supernet = Supernet(network, 2)
supernet.arrange(memory_format(supernet, torch.device("cpu")))
for _ in range(30):
    supernet(torch.randn(8, 114, 114, 3).permute(0, 3, 1, 2)).sum().backward()
"""


def test_torch_does_not_crash_where_it_would_in_channels_last() -> None:
    """In channels_last this program ends by SIGSEGV or SIGABRT."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
