"""Mixup and CutMix: each image of a batch mixed with another one, its label with the other's.

Drawn from torch's global generator, whose state a checkpoint holds, so that a resumed run mixes alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torchvision.transforms import v2

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

Mix = Literal["none", "mixup", "cutmix", "mixup-cutmix"]
MIXUP_ALPHA = 0.2  # of the Beta distribution, as Zhang et al. 2018 have it for ImageNet
CUTMIX_ALPHA = 1.0  # uniform, as Yun et al. 2019 have it


def mixing(kind: Mix, classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A function of (images [B, C, H, W], labels int64 [B]) that mixes them.

    Its labels are probabilities [B, classes]; with "none" both are returned as they are. "mixup-cutmix" draws
    one of the two for each batch.
    """
    mixup = v2.MixUp(alpha=MIXUP_ALPHA, num_classes=classes)
    cutmix = v2.CutMix(alpha=CUTMIX_ALPHA, num_classes=classes)
    match kind:
        case "none":
            return lambda images, labels: (images, labels)
        case "mixup":
            return mixup  # type: ignore[no-any-return]
        case "cutmix":
            return cutmix  # type: ignore[no-any-return]
        case "mixup-cutmix":
            return v2.RandomChoice([mixup, cutmix])  # type: ignore[no-any-return]
