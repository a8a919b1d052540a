"""Blocks of a layer's weights: rows of outputs by columns of inputs, at each position of the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from downshift.models.pattern import Block, Unstructured


def block_sums(weight: Tensor, block: Block | Unstructured) -> Tensor:
    """[blocks of outputs, blocks of inputs, ...kernel]: the sum over each block of a weight-shaped tensor."""
    if block.rows == block.columns == 1:
        return weight
    outputs, inputs, *kernel = weight.shape
    down, across = -(-outputs // block.rows), -(-inputs // block.columns)
    missing = across * block.columns - inputs, down * block.rows - outputs
    padded = functional.pad(weight, [*(0,) * (2 * len(kernel)), 0, missing[0], 0, missing[1]])
    return padded.reshape(down, block.rows, across, block.columns, *kernel).sum(dim=(1, 3))


def spread(mask: Tensor, block: Block | Unstructured, shape: Sequence[int]) -> Tensor:
    """A mask of blocks, flat, as a mask of weights in that shape: the inverse of `block_sums`."""
    if block.rows == block.columns == 1:
        return mask.view(*shape)
    outputs, inputs, *kernel = shape
    down, across = -(-outputs // block.rows), -(-inputs // block.columns)
    whole = mask.view(down, across, *kernel)
    whole = whole.repeat_interleave(block.rows, dim=0).repeat_interleave(block.columns, dim=1)
    return whole[:outputs, :inputs].contiguous()
