"""How often a program is right: accuracy as it is served, not as it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from downshift.models.spec import InputSpec
    from downshift.runtime.engines.engine import Program

BATCH = 100


def top1(program: Program, images: NDArray[np.uint8], labels: NDArray[np.int64], spec: InputSpec) -> float:
    """Share in [0, 1] of images [N, H, W, C], N >= 1, that the program puts into their class, labels [N]."""
    mean, std = (np.asarray(values, np.float32).reshape(1, -1, 1, 1) for values in (spec.mean, spec.std))
    right = 0
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        pixels = images[rows].transpose(0, 3, 1, 2).astype(np.float32) / 255.0
        outputs = program.run(np.ascontiguousarray((pixels - mean) / std))
        right += int((outputs.argmax(axis=1) == labels[rows]).sum())
    return right / len(images)
