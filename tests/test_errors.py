"""A foreign error's text, of any shape, becomes one line of ours."""

from __future__ import annotations

import pytest

from downshift.errors import first_line, kind_and_first_line


@pytest.mark.parametrize(
    ("error", "line", "with_kind"),
    [
        (ValueError("bad"), "bad", "ValueError: bad"),
        (ValueError("\n  first \nsecond"), "first", "ValueError: first"),
        (SystemExit(3), "3", "SystemExit: 3"),
        (AssertionError(), "AssertionError", "AssertionError"),
        (RuntimeError(" \n"), "RuntimeError", "RuntimeError"),
    ],
)
def test_a_foreign_error_is_one_line(error: BaseException, line: str, with_kind: str) -> None:
    assert first_line(error) == line
    assert kind_and_first_line(error) == with_kind
