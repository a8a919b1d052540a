"""BatchNorm folding: an affine map per channel is multiplied into the weights of the layer before it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.lowering.graph import Activation, ChannelAffine, Conv, Linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from downshift.runtime.lowering.graph import Operation


def fold_affine(operation: Operation, affine: ChannelAffine) -> Conv | Linear | ChannelAffine | None:
    """`operation` with `affine` folded into it; None if that is not one operation.

    Computed in double precision and rounded once; zero weights stay zero, so sparsity is preserved.
    """
    match operation:
        case Conv(activation=Activation.NONE, residual=None) | Linear(activation=Activation.NONE):
            rows = affine.scale.reshape(-1, *(1,) * (operation.weight.ndim - 1))
            weight, bias = _product(operation.weight, rows), _moved(operation.bias, affine)
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                return None
            return replace(
                operation, output=affine.output, weight=weight, bias=bias, activation=affine.activation
            )
        case ChannelAffine(activation=Activation.NONE):
            scale, shift = _product(operation.scale, affine.scale), _moved(operation.shift, affine)
            if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
                return None
            return replace(
                operation, output=affine.output, scale=scale, shift=shift, activation=affine.activation
            )
        case _:
            return None


def _product(values: NDArray[np.float32], factor: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.multiply(values, factor, dtype=np.float64).astype(np.float32)


def _moved(values: NDArray[np.float32], affine: ChannelAffine) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return (values.astype(np.float64) * affine.scale + affine.shift).astype(np.float32)
