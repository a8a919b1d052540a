from __future__ import annotations

import csv
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from benchmarks.scheduling import goals, policies
from downshift.runtime.simulator.comparison import PolicyResult
from downshift.runtime.simulator.replay import Summary
from tests.runtime.simulator.sample import two

if TYPE_CHECKING:
    from pathlib import Path


def cell(ours: tuple[float, float], rival: tuple[float, float], bound: tuple[float, float]) -> goals.Cell:
    """Attainment and served accuracy of each."""
    named = zip(("downshift", "slackfit", "oracle"), (ours, rival, bound), strict=True)
    results = [
        PolicyResult(
            1.0,
            Summary(
                policy=name,
                attainment=share,
                served_accuracy=accuracy,
                effective_accuracy=share * accuracy,
                goodput=1.0,
                worst_second=share,
            ),
            None,
        )
        for name, (share, accuracy) in named
    ]
    return goals.Cell(1, "gamma", 1.0, 1.0, 2.0, tuple(results))


def test_the_goals_are_judged_as_they_are_written() -> None:
    found = goals.judge(
        [
            cell((0.99, 0.90), (0.98, 0.91), (1.0, 0.905)),
            cell((0.95, 0.90), (0.96, 0.905), (1.0, 0.92)),
        ]
    )
    assert found["cells"] == 2
    assert found["attainment at least 99 % of the bound's"] == 1
    assert found["worst share of the bound's attainment"] == 0.95
    assert found["served accuracy within 1 point of the bound's"] == 1
    assert found["largest gap in served accuracy"] == pytest.approx(0.02)
    assert found["both"] == 1
    assert found["below SlackFit on both axes"] == 1
    assert found["effective accuracy strictly above SlackFit"] == 0


def test_a_small_sweep_leaves_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "LOADS", (2.0,))
    monkeypatch.setattr(policies, "BURSTINESS", (8.0,))
    monkeypatch.setattr(policies, "BUDGETS", (8.0,))
    small = ["--arrivals", "200", "--seeds", "1", "2", "--shapes", "batching"]
    chosen = [*small, "--policies", "downshift", "slackfit"]
    assert policies.main(["--out", str(tmp_path), "--traces", str(tmp_path), *chosen]) == 0
    with (tmp_path / "policies" / "cells-batching.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["arrivals"], row["policy"]) for row in rows] == [
        (seed, kind, name)
        for seed in "12"
        for kind in ("gamma", "steps")
        for name in ("oracle", "downshift", "slackfit")
    ]
    found = json.loads((tmp_path / "policies" / "summary-batching.json").read_text())
    assert found["mean"]["cells"] == found["seeds"]["2"]["cells"] == 2
    assert (tmp_path / "policies" / "load-batching.png").is_file()
    shown = (tmp_path / "policies" / "README.md").read_text()
    better = found["mean"]["effective accuracy strictly above SlackFit"] / 2
    assert f"| cells strictly above SlackFit in effective accuracy | 80% | {better:.1%} |" in shown
    ours = found["mean"]["mean effective accuracy"]["downshift"]
    assert f"| downshift | {ours:.4f} |" in shown
    assert (tmp_path / "policies" / "timeline-batching.png").is_file()


def test_a_measured_profile_is_swept_as_a_shape_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, values in (("LOADS", (2.0,)), ("BURSTINESS", (8.0,)), ("BUDGETS", (8.0,))):
        monkeypatch.setattr(policies, name, values)
    rows = [asdict(measurement) for measurement in two().measurements]
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    options = ["--arrivals", "100", "--seeds", "1", "--shapes", "--profile", str(tmp_path / "mine.json")]
    options += ["--out", str(tmp_path), "--traces", str(tmp_path), "--policies", "downshift", "slackfit"]
    assert policies.main(options) == 0
    found = json.loads((tmp_path / "policies" / "summary-measured.json").read_text())
    assert [name for name, *_ in found["subnets"]] == list(two().names)
    assert not (tmp_path / "policies" / "summary-usual.json").exists()
