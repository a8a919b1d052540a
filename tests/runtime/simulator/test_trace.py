from __future__ import annotations

import math

import pytest

from downshift.runtime.errors import TraceError
from tests.runtime.simulator.sample import trace


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((), "no arrivals"),
        ((0.0, math.nan), "arrival 2 is at nan; give finite seconds"),
        ((-0.5, 1.0), "arrival 1 is at -0.5 s; times start at 0"),
        ((0.0, 2.0, 1.5), "arrival 3 at 1.5 s is before the one ahead of it at 2 s; sort"),
    ],
)
def test_times_that_make_no_sense_are_refused_by_number(times: tuple[float, ...], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        trace(*times, seconds=3.0)


def test_a_trace_is_compressed_to_a_rate_with_its_pattern_kept() -> None:
    fast = trace(0.0, 1.0, 4.0, seconds=6.0).at_rate(3.0)
    assert fast.times.tolist() == pytest.approx([0.0, 1 / 6, 4 / 6])
    assert [fast.seconds, fast.rate] == pytest.approx([1.0, 3.0])
