"""A supernet whose convolutions compute as int8 will: quantisation-aware training of every sub-net."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from downshift.models.layers.dataflow import norm_after
from downshift.models.layers.switchable_norm import SwitchableNorm
from downshift.trainer.quantization.fake_quantize import fake_activation, fake_weight, fold_factor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from downshift.models.supernet import Supernet


class QuantizationAware:
    """Fake quantisation of a supernet's convolutions, between `attach` and `detach`.

    Each convolution rounds its input to the range of the selected sub-net, and its weight folded with the
    BatchNorm that follows it. Linear layers stay float32, as in the runtime. BatchNorm statistics are frozen:
    `freeze` must precede each training step, because evaluation puts all modules back into training mode.

    ranges: float64 [sub-nets, convolutions, 2], the least and the largest input of each, by `measure`.
    """

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        network = supernet.network
        self.convolutions: dict[str, nn.Conv2d] = {
            name: module
            for name, module in network.named_modules()
            if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros"
        }
        followers = norm_after(network)
        self._norms = {
            name: network.get_submodule(followers[name]) for name in self.convolutions if name in followers
        }
        self.ranges = torch.zeros(supernet.count, len(self.convolutions), 2, dtype=torch.float64)

    @torch.no_grad()
    def measure(self, index: int, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Set the ranges of sub-net `index` to the mean over batches of each batch's least and largest input.

        One outlier among thousands of images so widens a range but little.
        """
        seen: list[list[Tensor]] = []
        hooks = [
            conv.register_forward_pre_hook(
                lambda _, inputs, at=at: seen[-1].__setitem__(at, _ends(inputs[0]))
            )
            for at, conv in enumerate(self.convolutions.values())
        ]
        self.supernet.select(index)
        self.supernet.eval()
        for images, _ in batches:
            seen.append([torch.zeros(2, dtype=torch.float64)] * len(self.convolutions))
            self.supernet(images)
        for hook in hooks:
            hook.remove()
        self.supernet.train()
        self.ranges[index] = torch.stack([torch.stack(ends) for ends in seen]).mean(0)

    def attach(self) -> None:
        """From now on convolutions compute with rounded inputs and weights."""
        for at, (name, conv) in enumerate(self.convolutions.items()):
            conv.forward = partial(self._forward, conv, name, at)  # type: ignore[method-assign]

    def detach(self) -> None:
        """From now on convolutions compute in float32 again."""
        for conv in self.convolutions.values():
            conv.__dict__.pop("forward", None)

    def freeze(self) -> None:
        """Make every BatchNorm use and keep its running statistics, as the folded one of inference does."""
        for module in self.supernet.modules():
            if isinstance(module, _BatchNorm):
                module.eval()

    def factor(self, name: str) -> Tensor:
        """What the selected sub-net's BatchNorm after convolution `name` multiplies it by, [O]; else ones."""
        norm = self._norms.get(name)
        if isinstance(norm, SwitchableNorm):
            norm = norm.norms[norm.selection.index]
        if isinstance(norm, _BatchNorm):
            return fold_factor(norm)
        conv = self.convolutions[name]
        return torch.ones(conv.out_channels, device=conv.weight.device)

    def _forward(self, conv: nn.Conv2d, name: str, at: int, x: Tensor) -> Tensor:
        low, high = self.ranges[self.supernet.selection.index, at].tolist()
        return functional.conv2d(
            fake_activation(x, low, high),
            fake_weight(conv.weight, self.factor(name)),
            conv.bias,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
        )


def _ends(x: Tensor) -> Tensor:
    return torch.stack([x.min(), x.max()]).double().cpu()
