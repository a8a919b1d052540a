"""Patterns have a text form that is read back."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.models.errors import SpecError
from downshift.models.pattern import Block, Channel, NByM, Pattern, Unstructured, parse_pattern


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (Unstructured(), "unstructured"),
        (Channel(), "channel"),
        (NByM(2, 4), "2:4"),
        (Block(4, 1), "block 4x1"),
        (Block(1, 4), "block 1x4"),
        (Block(4, 4), "block 4x4"),
        (Block(1, 64), "block 1x64"),
    ],
)
def test_every_pattern_is_read_back_from_its_text(pattern: Pattern, text: str) -> None:
    assert str(pattern) == text
    assert parse_pattern(text) == pattern


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4x1", "write 'unstructured', 'channel', N:M such as '2:4' or a block such as 'block 4x1'"),
        ("block 4x", "write 'unstructured'"),
        ("block 1x1", "more than one weight"),
        ("block 0x4", "1 to 64 rows and columns"),
        ("block 65x1", "1 to 64 rows and columns"),
        ("4:2", "0 < N < M"),
    ],
)
def test_what_is_no_pattern_is_refused(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_pattern(text)


@pytest.mark.parametrize("kind", get_args(Pattern))
def test_every_pattern_holds_for_a_dense_layer_unless_it_removes_weights_itself(kind: type[Pattern]) -> None:
    pattern = {NByM: NByM(2, 4), Block: Block(4, 4)}.get(kind) or kind()
    dense = np.ones((6, 5, 3, 3), bool)
    assert pattern.holds(dense) == (pattern.sparsity is None)


@given(
    rows=st.integers(1, 5),
    columns=st.integers(2, 5),
    shape=st.tuples(*[st.integers(1, 9)] * 2),
    at=st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 2)),
)
def test_a_block_pattern_is_broken_by_one_weight_of_a_block(
    rows: int, columns: int, shape: tuple[int, int], at: tuple[int, int, int]
) -> None:
    block, mask = Block(rows, columns), np.ones((*shape, 3), bool)
    row, column = at[0] % shape[0], at[1] % shape[1]
    mask[row, column, at[2]] = False
    first = row // rows * rows, column // columns * columns
    members = mask[first[0] : first[0] + rows, first[1] : first[1] + columns, at[2]]
    assert block.holds(mask) == (members.size == 1)
    members[...] = False
    assert block.holds(mask)


def test_channels_hold_where_a_weight_is_kept_exactly_with_both_its_channels() -> None:
    mask = np.zeros((4, 4, 3, 3), bool)
    mask[[0, 2]] = True
    mask[:, 1] = False
    assert Channel().holds(mask)
    mask[0, 0, 1, 1] = False
    assert not Channel().holds(mask)


def test_n_of_m_holds_with_at_most_n_in_every_group_also_in_a_short_one() -> None:
    mask = np.array([[1, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1]], bool)
    assert NByM(2, 4).holds(mask)
    assert not NByM(1, 4).holds(mask)


@pytest.mark.parametrize(
    ("block", "shape", "groups", "fits"),
    [
        (Block(1, 4), (8, 6, 3, 3), 1, True),  # the last block of a row is smaller
        (Block(1, 4), (8, 1, 3, 3), 8, False),  # depthwise
        (Block(4, 1), (8, 1, 3, 3), 8, False),
        (Block(4, 4), (16, 4, 3, 3), 4, True),
        (Block(4, 4), (16, 2, 3, 3), 8, False),
        (Block(1, 4), (10, 5), 1, True),
    ],
)
def test_a_block_lies_within_one_group(block: Block, shape: tuple[int, ...], groups: int, fits: bool) -> None:
    assert block.fits(shape, groups) == fits
    assert Unstructured().fits(shape, groups)
