from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harness.client import Record
from benchmarks.scheduling import replay
from benchmarks.scheduling.replay import Batches, Costs
from downshift.runtime.simulator.engine import Scenario
from tests.runtime.simulator.sample import trace, two

COSTS = Costs(request=0.002, handover=0.0004, kept=0.02)


def run_of_three_batches() -> Record:
    """s50 twice alone and a pair on s90, each twice as long as profiled but the last; one refused."""
    alone, both = two()["s50"].typical(1), two()["s90"].typical(2)
    return Record(
        due=np.array([0.0, 0.005, 0.006, 0.5, 0.51]),
        sent=np.zeros(5),
        ended=np.array([0.022, 0.028, 0.0281, 0.515, 0.52]),
        status=np.array([200, 200, 200, 200, 429]),
        subnet=np.array(["s50", "s90", "s90", "s50", ""]),
        queued=np.array([0.0, 0.017, 0.016, 0.002, np.nan]),
        computed=np.array([2 * alone, 2 * both, 2 * both, alone, np.nan]),
        inside=np.array([]),
    )


def test_the_pace_is_what_batches_took_over_what_the_profile_says() -> None:
    found = replay.batches(run_of_three_batches())
    assert found.kinds == (("s50", 1), ("s90", 2), ("s50", 1))
    assert found.begun.tolist() == pytest.approx([0.002, 0.024, 0.505])
    assert (found.seconds / found.typical(two())).tolist() == pytest.approx([2.0, 2.0, 1.0])
    assert found.pace(two()) == pytest.approx((0.02 + 0.004 + 0.01) / (0.01 + 0.002 + 0.01))
    none = np.array([])
    nobody = Record(
        due=none,
        sent=none,
        ended=none,
        status=none,
        subnet=np.array([], "U1"),
        queued=none,
        computed=none,
        inside=none,
    )
    assert replay.batches(nobody).pace(two()) == 1.0
    scenario = Scenario(trace(0.0), two(), slo=0.1)
    assert replay.as_it_ran(scenario, nobody, 0.1, COSTS) is scenario


def test_a_run_is_replayed_with_its_own_speed_and_ways_in_and_back() -> None:
    scenario = Scenario(trace(0.0, 0.005, 0.006, 0.5, 0.51), two(), slo=0.1)
    found = replay.as_it_ran(scenario, run_of_three_batches(), 0.1, COSTS)
    assert found.trace.times.tolist() == pytest.approx([0.001025, 0.006025, 0.007025, 0.501025, 0.511025])
    assert found.slo == pytest.approx(0.1 - 0.001025), "half the median of 2, 2, 2.1 and 3 ms has passed"
    assert found.reserve == pytest.approx(0.01), "a tenth of the budget at most"
    assert found.handover == pytest.approx(0.0004)
    assert found.delivery == pytest.approx(np.array([2, 2, 2.1, 3, 3]) / 1e3 - 0.001025), (
        "the last as the one before"
    )
    assert found.recorded is not None
    assert found.recorded.seconds("s50", 1, 0.0) == pytest.approx(0.020)
    assert found.recorded.seconds("s50", 1, 0.6) == pytest.approx(0.010)


def test_a_batch_takes_what_its_kind_took_and_an_unseen_kind_what_all_of_them_did() -> None:
    alone, both = two()["s50"].typical(1), two()["s90"].typical(2)
    kinds = (("s50", 1),) * 3 + (("s90", 2),) * 2
    ran = Batches(kinds, np.arange(5.0), np.array([1.2, 1.4, 1.3, 3.0, 3.0]) * ([alone] * 3 + [both] * 2))
    found = replay.observed(two(), ran)
    assert found["s50"].typical(1) == pytest.approx(1.3 * alone)
    assert found["s90"].typical(2) == pytest.approx(1.4 * both), "two are too few: the median of all"
    assert found["s50"].bound(1) == pytest.approx(1.3 * two()["s50"].bound(1))


def test_what_serving_costs_is_foreseen_on_both_ways_and_between_batches() -> None:
    found = replay.foreseen(Scenario(trace(0.0, 0.5), two(), slo=0.1), COSTS, 0.1)
    assert found.trace.times.tolist() == pytest.approx([0.001, 0.501])
    assert (found.slo, found.reserve, found.handover) == pytest.approx((0.099, 0.01, 0.0004))
    assert found.delivery == pytest.approx([0.001, 0.001])
    assert found.recorded is None
