from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from downshift.models.errors import UnknownName
from downshift.runtime.errors import TraceError
from downshift.runtime.simulator.comparison import capacity, loads, policy_names, sweep, trace
from downshift.runtime.simulator.engine import Scenario
from downshift.runtime.simulator.policies.table import names
from tests.runtime.simulator.sample import trace as by_hand
from tests.runtime.simulator.sample import two

if TYPE_CHECKING:
    from pathlib import Path


def test_capacity_is_the_densest_sub_nets_best_throughput() -> None:
    assert capacity(two()) == pytest.approx(100.0)
    assert capacity(two(fixed=0.5), executors=3) == pytest.approx(3 * 4 / 0.025)


def test_a_sweep_gives_every_policy_at_every_load() -> None:
    scenario = Scenario(by_hand(0.0, 0.25, 0.5), two(), slo=0.05)
    results = sweep(scenario, ("downshift", "oracle"), (0.5, 2.0))
    assert [r.summary.policy for r in results] == ["downshift", "oracle"] * 2
    assert [r.load for r in results] == pytest.approx([0.5, 0.5, 2.0, 2.0])
    assert [r.load for r in sweep(scenario, ("oracle",))] == [pytest.approx(0.03)]


def test_all_policies_are_ours_the_rivals_and_the_bound() -> None:
    everyone = policy_names("all", two())
    assert everyone[:2] == ("downshift", "slackfit")
    assert everyone == (*names(two()), "oracle")
    assert policy_names("fixed:s90, oracle", two()) == ("fixed:s90", "oracle")
    with pytest.raises(UnknownName, match="unknown policy 'magic'"):
        policy_names("downshift,magic", two())


def test_loads_are_numbers_above_zero() -> None:
    assert loads(None) is None
    assert loads("0.5,2") == (0.5, 2.0)
    for text in ("", "1,x", "0", "1,inf", "nan"):
        with pytest.raises(TraceError, match="numbers above 0"):
            loads(text)


def test_a_trace_is_a_file_where_there_is_one(tmp_path: Path) -> None:
    file = tmp_path / "poisson:rate=2,seconds=3"
    file.write_text("1.5\n")
    assert trace(str(file)).times.tolist() == [1.5]
    assert trace("constant:rate=1,seconds=2").times.tolist() == [1.0, 2.0]
