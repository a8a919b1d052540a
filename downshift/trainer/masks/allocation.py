"""How a network's sparsity is shared out among its layers before magnitudes decide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def erk_densities(shapes: Sequence[tuple[int, ...]], sparsity: float) -> list[float]:
    """Erdős-Rényi-Kernel density of each layer, in [0, 1], for a global `sparsity`.

    A layer's density is proportional to sum(shape) / prod(shape); layers that would exceed 1 stay dense and
    the rest make up for them (Evci et al., "Rigging the Lottery", ICML 2020, appendix).
    """
    sizes = [math.prod(shape) for shape in shapes]
    scores = [sum(shape) / size for shape, size in zip(shapes, sizes, strict=True)]
    dense: set[int] = set()
    while True:
        open_layers = [i for i in range(len(shapes)) if i not in dense]
        budget = (1.0 - sparsity) * sum(sizes) - sum(sizes[i] for i in dense)
        mass = sum(scores[i] * sizes[i] for i in open_layers)
        scale = budget / mass if mass else 0.0
        too_dense = [i for i in open_layers if scores[i] * scale > 1.0]
        if not too_dense:
            return [1.0 if i in dense else max(scores[i] * scale, 0.0) for i in range(len(shapes))]
        dense.update(too_dense)


def uniform_densities(shapes: Sequence[tuple[int, ...]], sparsity: float) -> list[float]:
    """The same density for every layer."""
    return [1.0 - sparsity] * len(shapes)
