"""Residual networks for small images (He et al. 2016, "Deep Residual Learning", sections 3 and 4.2).

A 3x3 stem without pooling, stages that halve the image and widen the channels, global average
pooling, one linear classifier. ResNet-20/32/56 have three stages of basic blocks; ResNet-18/50 have
the ImageNet networks' four stages behind this stem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor, nn
from torch.nn.functional import pad, relu

from downshift.models.networks.initialisation import he_initialise, scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

ShortcutKind = Literal["projection", "padding"]


class Padding(nn.Module):
    """Shortcut without parameters (option A): every `stride`-th pixel, missing channels are zero."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, ceil(H / stride), ceil(W / stride)]."""
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def make_shortcut(inputs: int, outputs: int, stride: int, kind: ShortcutKind) -> nn.Module:
    """The identity where shapes agree, else a 1x1 convolution with BatchNorm, or zero-padding."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    if kind == "padding":
        return Padding(inputs, outputs, stride)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False),
        nn.BatchNorm2d(outputs),
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion: ClassVar[int] = 1

    def __init__(self, inputs: int, channels: int, stride: int, shortcut: ShortcutKind) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = make_shortcut(inputs, channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, channels, ceil(H / stride), ceil(W / stride)]."""
        y = relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return relu(y + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride) and 1x1 convolutions and a shortcut; four times wider outside."""

    expansion: ClassVar[int] = 4

    def __init__(self, inputs: int, channels: int, stride: int, shortcut: ShortcutKind) -> None:
        super().__init__()
        outputs = channels * self.expansion
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.shortcut = make_shortcut(inputs, outputs, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, 4 channels, ceil(H / stride), ceil(W / stride)]."""
        y = relu(self.norm1(self.conv1(x)))
        y = relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        return relu(y + self.shortcut(x))


class CifarResNet(nn.Module):
    """Stem, one stage per entry of `depths` (blocks in it) and `widths` (its channels), classifier."""

    def __init__(  # noqa: PLR0913 - the figures that define one network, all by keyword
        self,
        *,
        block: type[BasicBlock | Bottleneck],
        depths: Sequence[int],
        widths: Sequence[int],
        classes: int,
        width: float = 1.0,
        channels: int = 3,
        shortcut: ShortcutKind = "projection",
    ) -> None:
        super().__init__()
        inputs = scaled(widths[0], width)
        self.stem = nn.Conv2d(channels, inputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(inputs)
        blocks: list[nn.Module] = []
        for stage, (depth, base) in enumerate(zip(depths, widths, strict=True)):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(inputs, scaled(base, width), stride, shortcut))
                inputs = scaled(base, width) * block.expansion
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(inputs, classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, channels, H, W] -> logits [N, classes]."""
        x = relu(self.norm(self.stem(x)))
        x = self.blocks(x).mean((2, 3))
        logits: Tensor = self.classifier(x)
        return logits
