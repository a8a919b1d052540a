from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from downshift.runtime.simulator.service import ServiceTimes, mean
from downshift.runtime.simulator.synthetic import synthetic_profile

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile

LINE = synthetic_profile([("s50", 0.5, 0.9, 0.010)], batch_sizes=(1, 2), tail=2.0)


def with_p95(seconds: float) -> Profile:
    return replace(LINE, measurements=tuple(replace(m, p95=seconds * m.p50) for m in LINE.measurements))


def drawn(profile: Profile, count: int = 20_000) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    times = ServiceTimes(profile, 3)
    return np.array([times.seconds("s50", 1, 0.0) for _ in range(count)])


@pytest.mark.parametrize("high", [1.0, 1.1, 1.9])
def test_simulated_batches_have_the_profiles_quantiles(high: float) -> None:
    found = np.quantile(drawn(with_p95(high)), (0.0, 0.5, 0.95, 0.99, 1.0))
    assert found == pytest.approx(0.010 * np.array([1.0, 1.0, high, 2.0, 2.0]), rel=0.03)


def test_on_a_straight_line_the_p95_changes_nothing() -> None:
    found = np.quantile(drawn(LINE), 0.745)
    assert found == pytest.approx(0.010 * (1.0 + 0.245 / 0.49), rel=0.02)


def test_without_spread_all_batches_take_the_p50() -> None:
    profile = synthetic_profile([("s50", 0.5, 0.9, 0.010)])
    assert (drawn(profile, 10) == profile["s50"].typical(1)).all()


@pytest.mark.parametrize("high", [1.0, 1.3, 2.0])
def test_the_mean_is_that_of_what_is_drawn(high: float) -> None:
    profile = with_p95(high)
    assert drawn(profile).mean() == pytest.approx(mean(profile["s50"], 1), rel=0.01)
