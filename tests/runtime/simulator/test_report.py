from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.simulator.comparison import sweep
from downshift.runtime.simulator.engine import Scenario
from downshift.runtime.simulator.replay import UNANSWERED, Replay
from downshift.runtime.simulator.report import rows, timeline, write
from tests.runtime.simulator.sample import trace, two

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = ["policy", "attainment", "served_accuracy", "effective_accuracy", "goodput", "worst_second", "load"]


def test_the_table_and_the_pictures_are_written(tmp_path: Path) -> None:
    results = sweep(Scenario(trace(0.0, 0.25, 0.5), two(), slo=0.05), ("downshift", "oracle"), (0.5, 2.0))
    files = write(tmp_path / "new", results)
    assert [file.name for file in files] == ["results.csv", "load.png", "timeline.png"]
    with files[0].open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == FIELDS
    assert [(line["policy"], float(line["attainment"])) for line in table] == [
        (row["policy"], row["attainment"]) for row in rows(results)
    ]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files[1:])


def test_without_our_policy_there_is_no_time_line(tmp_path: Path) -> None:
    files = write(tmp_path, sweep(Scenario(trace(0.0), two(), slo=0.05), ("oracle",)))
    assert [file.name for file in files] == ["results.csv", "load.png"]


def test_the_time_line_counts_requests_by_what_answered_them() -> None:
    done = Replay(
        trace(0.1, 0.6, 0.7, 0.9), two(), np.array([0, 1, 1, UNANSWERED], np.int16), np.empty((0, 4))
    )
    assert timeline(done, bins=2).tolist() == [[2.0, 0.0], [0.0, 4.0], [0.0, 2.0]]
