"""Downloads a data set with torchvision, which verifies the archive's checksum."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torchvision.datasets

Download = Callable[[str, Path], None]
"""Writes the named data set's files into the folder; raises OSError or RuntimeError on failure."""


def from_torchvision(name: str, folder: Path) -> None:
    """Download `cifar10`, `cifar100` or `mnist` from torchvision's mirrors."""
    kind = {
        "cifar10": torchvision.datasets.CIFAR10,
        "cifar100": torchvision.datasets.CIFAR100,
        "mnist": torchvision.datasets.MNIST,
    }[name]
    folder.mkdir(parents=True, exist_ok=True)
    kind(folder, download=True)
