"""Any classification network of torchvision, freshly initialised the way torchvision does it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torchvision.models

from downshift.models.errors import SpecError

if TYPE_CHECKING:
    from torch import nn

# Training's auxiliary classifiers would make the network return a tuple.
_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


@cache
def architectures() -> tuple[str, ...]:
    """torchvision's names of its classification networks, such as `resnet50`."""
    return tuple(torchvision.models.list_models(module=torchvision.models))


def input_size(architecture: str) -> int:
    """Side in pixels of the images that torchvision's best published weights are evaluated on."""
    weights = torchvision.models.get_model_weights(architecture)
    size: int = weights.DEFAULT.transforms().crop_size[0]
    return size


def make(architecture: str, *, classes: int, width: float = 1.0, channels: int = 3) -> nn.Module:
    """The network of one of `architectures()`; nothing is downloaded.

    Raises `SpecError` for a width or a number of channels, neither of which torchvision lets anyone choose.
    """
    if width != 1.0:
        raise SpecError(f"width {width}: torchvision's {architecture} has one width; leave it at 1.0")
    if channels != 3:  # noqa: PLR2004 - red, green, blue
        raise SpecError(
            f"channels {channels}: torchvision's {architecture} reads 3; choose a cifar-* network"
        )
    options = dict(_OPTIONS.get(architecture, {}))
    if architecture.startswith("vit_"):
        options["image_size"] = input_size(architecture)
    network: nn.Module = torchvision.models.get_model(
        architecture, weights=None, num_classes=classes, **options
    )
    return network
