"""Wide residual networks for small images (Zagoruyko and Komodakis 2016): pre-activation, WRN-depth-k."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

from downshift.models.networks.initialisation import he_initialise, scaled


class PreActivationBlock(nn.Module):
    """BatchNorm and ReLU before each of two 3x3 convolutions; the sum itself stays linear."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = (
            None
            if inputs == channels and stride == 1
            else nn.Conv2d(inputs, channels, 1, stride=stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, channels, ceil(H / stride), ceil(W / stride)].

        A convolution on the shortcut reads the activated input, the identity the raw one.
        """
        active = relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        y: Tensor = self.conv1(active)
        y = self.conv2(relu(self.norm2(y)))
        return y + shortcut


class WideResNet(nn.Module):
    """WRN of `depth` = 6n + 4 layers, `widen` times wider than (16, 32, 64) behind a stem of 16."""

    def __init__(
        self, *, depth: int, widen: int, classes: int, width: float = 1.0, channels: int = 3
    ) -> None:
        super().__init__()
        inputs = scaled(16, width)
        self.stem = nn.Conv2d(channels, inputs, 3, padding=1, bias=False)
        blocks: list[nn.Module] = []
        for stage in range(3):
            outputs = scaled((16 << stage) * widen, width)
            for index in range((depth - 4) // 6):
                blocks.append(PreActivationBlock(inputs, outputs, 2 if stage > 0 and index == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(inputs)
        self.classifier = nn.Linear(inputs, classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, channels, H, W] -> logits [N, classes]."""
        x = self.blocks(self.stem(x))
        logits: Tensor = self.classifier(relu(self.norm(x)).mean((2, 3)))
        return logits
