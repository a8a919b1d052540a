from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harness.client import Record
from benchmarks.scheduling import overload
from benchmarks.scheduling.overload import FREE, PINNED, Figures, Row, Unserved
from downshift.runtime.simulator.engine import Scenario
from tests.runtime.simulator.sample import trace, two


def row(load: float, policy: str, attainment: float, goodput: float, simulated: float) -> Row:
    return Row(
        load,
        9,
        policy,
        Figures(attainment, goodput, 0.9, {}),
        Figures(simulated, goodput, 0.9, {}),
        Figures(simulated + 0.005, goodput, 0.9, {}),
        1.1,
        Unserved(0.0, 0.0, 0.0, 0.0, None),
        0.1,
    )


def test_only_good_answers_in_time_count_whoever_gave_them() -> None:
    record = Record(
        due=np.zeros(4),
        sent=np.zeros(4),
        ended=np.array([0.01, 0.02, 0.2, 0.01]),
        status=np.array([200, 200, 200, 429]),
        subnet=np.array(["s50", "s90", "s90", ""]),
        queued=np.zeros(4),
        computed=np.full(4, 0.005),
        inside=np.array([]),
    )
    found = overload.measured(record, two(), trace(0.0, 0.0, 0.0, 0.0, seconds=2.0), 0.1)
    assert (found.attainment, found.goodput) == (0.5, 1.0)
    assert found.served_accuracy == pytest.approx(0.85)
    assert found.subnets == {"s50": 0.5, "s90": 0.5}


def test_requests_without_an_answer_in_time_were_late_refused_expired_or_lost() -> None:
    record = Record(
        due=np.array([0.0, 0.0, 1.0, 0.0, 0.0]),
        sent=np.zeros(5),
        ended=np.array([0.01, 0.2, 1.003, 0.1, np.inf]),
        status=np.array([200, 200, 429, 504, 0]),
        subnet=np.full(5, ""),
        queued=np.full(5, np.nan),
        computed=np.full(5, np.nan),
        inside=np.array([]),
    )
    found = overload.unserved(record, 0.1)
    assert (found.late, found.refused, found.expired, found.lost) == (0.2, 0.2, 0.2, 0.2)
    assert found.refused_p99_ms == pytest.approx(3.0)


def test_the_simulator_is_given_the_servers_policy_which_keeps_a_margin() -> None:
    found = overload.simulated(Scenario(trace(0.0, 0.5), two(), slo=0.0102))
    assert found.subnets == {"s50": 0.0, "s90": 1.0}
    assert overload.simulated(Scenario(trace(0.0, 0.5), two(), slo=0.0115)).subnets["s50"] == 1.0


def test_goals_are_the_peak_what_is_left_of_it_and_the_largest_gap() -> None:
    rows = [
        row(1.0, FREE, 1.0, 50.0, 0.99),
        row(1.0, PINNED, 0.5, 25.0, 0.47),
        row(9.0, FREE, 0.4, 45.0, 0.42),
        row(9.0, PINNED, 0.1, 20.0, 0.1),
    ]
    found = overload.goals(rows)
    assert found["peak goodput"] == 50.0
    assert found["goodput over peak, at each load"] == {"1": 1.0, "9": 0.9}
    gaps = found["largest gap to the simulator's attainment"]
    assert found["largest gap as it ran"][FREE] == pytest.approx(0.025)
    assert (gaps[FREE], gaps[PINNED]) == (pytest.approx(0.02), pytest.approx(0.03))
    assert [axes.get_ylabel() for axes in overload.draw(rows).axes] == ["answered in time", "goodput, 1/s"]
