"""Patterns have a text form that is read back."""

from __future__ import annotations

import pytest

from downshift.models.errors import SpecError
from downshift.models.pattern import Block, Channel, NByM, Pattern, Unstructured, parse_pattern


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (Unstructured(), "unstructured"),
        (Channel(), "channel"),
        (NByM(2, 4), "2:4"),
        (Block(4, 1), "block 4x1"),
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
