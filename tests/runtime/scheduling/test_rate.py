from __future__ import annotations

import math

import pytest

from downshift.runtime.scheduling.estimators import ArrivalRate


def test_a_steady_stream_is_measured_and_forgotten() -> None:
    rate = ArrivalRate(memory=0.5)
    assert rate.at(0.0) == 0.0
    for step in range(1000):
        rate.seen(step / 100)
    assert rate.at(10.0) == pytest.approx(100, rel=0.02)
    assert rate.at(10.5) == pytest.approx(100 / math.e, rel=0.02)


def test_a_request_of_many_examples_counts_for_all_of_them() -> None:
    rate = ArrivalRate(memory=0.5)
    rate.seen(1.0, examples=4)
    assert rate.at(1.0) == pytest.approx(4 / 0.5 / 0.05), "taken to have come in a twentieth of the memory"
    assert rate.at(6.0) == pytest.approx(0.0, abs=1e-3)


def test_the_rate_is_right_long_before_the_memory_is_full() -> None:
    rate = ArrivalRate(memory=0.5)
    for step in range(11):
        rate.seen(step / 100)
    assert rate.at(0.1) == pytest.approx(110, rel=0.01)


def test_even_gaps_are_not_bursty_and_uneven_ones_are() -> None:
    even, pairs = ArrivalRate(), ArrivalRate()
    assert even.burstiness == 1.0, "nothing known"
    for step in range(2000):
        even.seen(step / 100)
        pairs.seen(step // 2 / 50)
    assert even.burstiness == pytest.approx(0.0, abs=1e-6)
    assert pairs.burstiness == pytest.approx(1.0, abs=0.02), "gaps of 0 and 20 ms"
