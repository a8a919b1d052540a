"""Fetching a data set's archive with torchvision, which checks its checksum."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torchvision.datasets

Download = Callable[[str, Path], None]
"""Puts the named data set's files under the folder; raises OSError or RuntimeError when it cannot."""


def from_torchvision(name: str, folder: Path) -> None:
    """Download `cifar10`, `cifar100` or `mnist` from where torchvision knows it to be."""
    kind = {
        "cifar10": torchvision.datasets.CIFAR10,
        "cifar100": torchvision.datasets.CIFAR100,
        "mnist": torchvision.datasets.MNIST,
    }[name]
    folder.mkdir(parents=True, exist_ok=True)
    kind(folder, download=True)
