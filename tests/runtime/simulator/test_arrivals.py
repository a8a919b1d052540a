from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.runtime.errors import TraceError
from downshift.runtime.simulator.arrivals import Arrivals, parse


def test_constant_arrivals_are_evenly_spaced() -> None:
    assert parse("constant:rate=4,seconds=1").times.tolist() == [0.25, 0.5, 0.75, 1.0]


def test_steps_change_the_rate_in_equal_parts_of_the_time() -> None:
    times = parse("steps:rates=2/6,seconds=2,cv2=0").times
    assert times.tolist() == pytest.approx([0.5, 1.0, *(1 + np.arange(1, 7) / 6)])


@pytest.mark.parametrize("cv2", [1.0, 8.0])
def test_gamma_gaps_have_the_mean_and_the_variation_asked_for(cv2: float) -> None:
    made = parse(f"gamma:rate=100,cv2={cv2},seconds=300,seed=3")
    gaps = np.diff(made.times)
    assert made.rate == pytest.approx(100, rel=0.06)
    assert gaps.var() / gaps.mean() ** 2 == pytest.approx(cv2, rel=0.15)


def test_poisson_is_gamma_with_a_variation_of_one() -> None:
    poisson, gamma = parse("poisson:rate=9,seconds=5,seed=2"), parse("gamma:rate=9,cv2=1,seconds=5,seed=2")
    assert poisson.times.tolist() == gamma.times.tolist()
    assert poisson.times.tolist() != parse("poisson:rate=9,seconds=5,seed=3").times.tolist()


@given(st.floats(5.0, 500.0), st.floats(0.0, 16.0), st.integers(0, 9))
def test_arrivals_ascend_within_the_time(rate: float, cv2: float, seed: int) -> None:
    times = Arrivals(rate, 2.0, cv2, seed, steps=(1.0, 3.0)).times()
    assert (np.diff(times) >= 0).all()
    assert ((times >= 0.0) & (times <= 2.0)).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "neither a file nor one of constant, gamma, poisson, steps"),
        ("gamma:rate=3,seconds=1", "cv2 is missing, as in cv2=1"),
        ("poisson:rate=3,seconds=1,cv2=2", "poisson has no 'cv2'; it takes rate, seconds, seed"),
        ("poisson:rate=0,seconds=1", "rate=0 is out of range"),
        ("poisson:rate=x,seconds=1", "rate=x is out of range"),
        ("gamma:rate=9,cv2=1e300,seconds=1", "cv2=1e300 is out of range"),
        ("poisson:rate=5,seconds=1,rate=6", "rate is given 2 times; give it once"),
        ("poisson:rate=inf,seconds=1", "rate=inf is out of range"),
        ("poisson:rate,seconds=1", "'rate' has no value"),
        ("poisson:rate=3,seconds=1,seed=0.5", "seed=0.5 is out of range"),
        ("steps:rates=1//2,seconds=1", "rates= is out of range"),
        ("poisson:rate=1e9,seconds=1e6", "1e.15 arrivals; at most 50,000,000"),
    ],
)
def test_a_text_that_describes_no_arrivals_is_refused(text: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        parse(text)
