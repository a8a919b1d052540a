"""Top-1 accuracy of sub-nets, and BatchNorm recalibration after training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from downshift.models.supernet import Supernet


@torch.no_grad()
def accuracy(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Top-1 accuracy in [0, 1], in evaluation mode; the network's mode is restored."""
    training = network.training
    network.eval()
    right = seen = 0
    for images, labels in batches:
        right += int((network(images).argmax(1) == labels).sum())
        seen += len(labels)
    network.train(training)
    return right / max(1, seen)


@torch.no_grad()
def recalibrate(supernet: Supernet, index: int, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
    """BatchNorm recalibration: set the running statistics of sub-net `index` to their mean over the batches.

    A cumulative average, not the exponential one of training, which still remembers earlier weights.
    """
    supernet.select(index)
    supernet.eval()
    norms = [norm.norms[index] for norm in supernet.switchable_norms.values()]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()  # type: ignore[operator]
        norm.momentum = None  # type: ignore[assignment]
        norm.train()
    for images, _ in batches:
        supernet(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    supernet.train()
