"""Blocks of weights: sums in, masks out, smaller blocks at the edges."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from downshift.models.pattern import Block
from downshift.trainer.masks.blocks import block_sums, spread


def test_sums_over_four_output_channels_of_one_input_channel() -> None:
    weight = torch.arange(16.0).view(8, 2)
    assert block_sums(weight, Block(4, 1)).tolist() == [[12.0, 16.0], [44.0, 48.0]]


def test_the_last_block_of_a_side_that_is_no_multiple_is_smaller() -> None:
    assert block_sums(torch.ones(5, 3), Block(4, 2)).tolist() == [[8.0, 4.0], [2.0, 1.0]]


def test_a_mask_of_blocks_spreads_to_all_of_their_weights() -> None:
    mask = spread(tensor([True, False, False, True]), Block(4, 1), (5, 2))
    assert mask.int().tolist() == [[1, 0]] * 4 + [[0, 1]]


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 4) | st.tuples(*[st.integers(1, 9)] * 2),
    rows=st.integers(1, 5),
    columns=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_spreading_inverts_summing(shape: tuple[int, ...], rows: int, columns: int, seed: int) -> None:
    block = Block(rows, columns)
    torch.manual_seed(seed)
    blocks = block_sums(torch.ones(shape), block)
    mask = torch.rand(blocks.shape) < 0.5
    whole = spread(mask.reshape(-1), block, shape)
    assert whole.shape == shape
    assert torch.equal(block_sums(whole.float(), block), blocks * mask)
