from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from downshift.runtime.errors import TraceError
from downshift.runtime.simulator.trace_file import read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trace.csv"


def test_plain_times_are_seconds(file: Path) -> None:
    file.write_text("0.5\n0.5\n\n2.25\n")
    assert read(file).times.tolist() == [0.5, 0.5, 2.25]


def test_counts_are_spread_over_their_second(file: Path) -> None:
    file.write_text("second,count\n0,2\n1,0\n2,1\n")
    made = read(file)
    assert made.times.tolist() == [0.25, 0.75, 2.5]
    assert made.seconds == 3.0


def test_azure_timestamps_start_at_zero_and_keep_seven_digits(file: Path) -> None:
    file.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 23:59:59.9799600,4808,10\n"
        "2023-11-17 00:00:00.0319605,3180,8\n"
    )
    assert read(file).times.tolist() == pytest.approx([0.0, 0.0520005], abs=5e-7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no arrivals"),
        ("1.0\n0.5\n", "arrival 2 at 0.5 s is before"),
        ("-1.0\n", "arrival 1 is at -1 s"),
        ("1.0\nsoon\n", "line 2: 'soon' has no time or count in column 1"),
        ("count\n3\n-1\n", "line 3: '-1' has no time or count"),
        ("second,count\n0\n", "line 2: '0' has no time or count in column 2"),
        ("TIMESTAMP\n2023-13-16 18:17:03.9\n", "line 2: '2023-13-16 18:17:03.9' has no time"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_by_line(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(TraceError, match=message):
        read(file)


def test_a_file_that_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="not a text file"):
        read(file)
