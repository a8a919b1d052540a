"""The order in which a network's weights and activations lie in memory while it is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CRASHING_BELOW = 16  # input channels; seen with torch 2.15


def memory_format(network: nn.Module, device: torch.device) -> torch.memory_format:
    """channels_last, which convolutions are fastest in, or contiguous where torch would crash in it.

    On a CPU, the backward pass of a strided 1x1 convolution with fewer than 16 input channels reads past its
    buffers in channels_last: the process dies of SIGSEGV, or sums what does not belong to it.
    """
    crashes = device.type == "cpu" and any(map(_crashes, network.modules()))
    return torch.contiguous_format if crashes else torch.channels_last


def lay_out(images: Tensor, wanted: torch.memory_format) -> Tensor:
    """The batch [N, C, H, W] in that memory format; a copy only where it lies otherwise.

    The strides of one-channel images fit both formats, and torch then takes them for channels_last: they are
    compared with those of a fresh tensor.
    """
    _, channels, height, width = images.shape
    strides = (
        (height * width * channels, 1, width * channels, channels)
        if wanted == torch.channels_last
        else (channels * height * width, height * width, width, 1)
    )
    return images if images.stride() == strides else images.clone(memory_format=wanted)


def _crashes(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels // module.groups < CRASHING_BELOW
    )
