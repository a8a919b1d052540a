"""Top-1 accuracy of a compiled program: as it is served, not as it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from downshift.models.pixels import normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from downshift.models.spec import InputSpec
    from downshift.runtime.engines.engine import Program

BATCH = 100


def top1(program: Program, images: NDArray[np.uint8], labels: NDArray[np.int64], spec: InputSpec) -> float:
    """Share in [0, 1] of images [N, H, W, C], N >= 1, that the program puts into their class, labels [N]."""
    right = 0
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        outputs = program.run(normalise(images[rows].transpose(0, 3, 1, 2), spec))
        right += int((outputs.argmax(axis=1) == labels[rows]).sum())
    return right / len(images)
