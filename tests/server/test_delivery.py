from __future__ import annotations

import numpy as np
import pytest

from downshift.server.demand import LEAST, SHARE, Delivery, after


def test_the_estimate_tends_to_what_nearly_all_answers_stay_within() -> None:
    rng = np.random.default_rng(1)
    took = rng.exponential(0.002, 5000)
    estimate, estimates = LEAST, []
    for seconds in took:
        estimate = after(estimate, float(seconds))
        estimates.append(estimate)
    assert np.mean(took[2000:] <= estimates[1999:-1]) == pytest.approx(0.98, abs=0.01)


def test_it_rises_within_fifty_answers_and_falls_again() -> None:
    delivery = Delivery()
    for _ in range(50):
        delivery.took(0.01)
    assert 0.01 <= delivery.seconds < 0.0111
    for _ in range(5000):
        delivery.took(0.001)
    assert 0.001 <= delivery.seconds < 0.0012


def test_a_clock_that_is_read_twice_in_the_wrong_order_does_no_harm() -> None:
    assert after(LEAST, -1.0) == LEAST


def test_no_more_than_a_share_of_the_budget_is_kept() -> None:
    delivery = Delivery()
    for _ in range(200):
        delivery.took(5.0)
    assert delivery.reserve(0.1) == pytest.approx(0.1 * SHARE)
    assert delivery.reserve(1000.0) == delivery.seconds
