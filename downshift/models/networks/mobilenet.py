"""MobileNetV1 for small images (Howard et al. 2017, table 1).

The stem and the first reduction keep their resolution, as is usual for 32 x 32 images, which end as 2 x 2.
"""

from __future__ import annotations

from torch import Tensor, nn

from downshift.models.networks.initialisation import he_initialise, scaled

_STEM = 32
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""(output channels, stride) of every separable block."""


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A depthwise 3x3 and a pointwise 1x1 convolution, each with BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride=stride, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class MobileNetV1(nn.Module):
    """Stem, thirteen depthwise separable blocks, global average pooling, classifier."""

    def __init__(self, *, classes: int, width: float = 1.0, channels: int = 3) -> None:
        super().__init__()
        inputs = scaled(_STEM, width)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, inputs, 3, padding=1, bias=False), nn.BatchNorm2d(inputs), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        for base, stride in _BLOCKS:
            outputs = scaled(base, width)
            blocks.append(separable(inputs, outputs, stride))
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(inputs, classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, channels, H, W] -> logits [N, classes]."""
        logits: Tensor = self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
        return logits
