"""VGG-19 with BatchNorm for small images (Simonyan and Zisserman 2015, configuration E).

As in the pruning literature, one linear classifier replaces the three of the ImageNet network, and four
poolings its five: 32 x 32 pixels end as 2 x 2, which global average pooling reads. The smallest image has
16 x 16 pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

from downshift.models.networks.initialisation import he_initialise, scaled

_STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""(channels, convolutions) between poolings."""


class Vgg19(nn.Module):
    """Sixteen 3x3 convolutions, each with BatchNorm and ReLU, and one linear classifier."""

    def __init__(self, *, classes: int, width: float = 1.0, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage, (base, convolutions) in enumerate(_STAGES):
            if stage > 0:
                layers.append(nn.MaxPool2d(2))
            for _ in range(convolutions):
                outputs = scaled(base, width)
                layers += [
                    nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                ]
                channels = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, channels, H, W], at least 16 x 16 -> logits [N, classes]."""
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits
