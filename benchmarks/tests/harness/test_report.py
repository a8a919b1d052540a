"""Reports: rows replaced by key, and every file says how it came about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from benchmarks.harness.report import Report, load, panels, table

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Row:
    network: str
    turn: int
    seconds: float


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return Report(tmp_path / "new", "x", "python -m benchmarks.server.x --seed 3")


def network(row: Row) -> str:
    return row.network


def test_rows_with_the_same_key_are_replaced_and_others_kept(report: Report) -> None:
    report.csv([Row("a", 0, 0.25), Row("b", 0, 0.5)], Row, network)
    everything = report.csv([Row("a", 0, 2.0), Row("a", 1, 3.0)], Row, network)
    assert everything == [Row("b", 0, 0.5), Row("a", 0, 2.0), Row("a", 1, 3.0)]
    assert load(report.folder / "x.csv", Row) == everything


def test_a_document_says_how_it_came_about(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    report.json({"figure": 1.5}, seed=3)
    document = json.loads((report.folder / "x.json").read_text())
    assert (document["figure"], document["seed"], document["command"]) == (1.5, 3, report.command)
    assert {"date", "machine", "versions"} < document.keys()
    assert {"cpu", "cores", "gpus"} == document["machine"].keys()
    assert {"python", "downshift", "numpy"} < document["versions"].keys()
    assert json.loads(capsys.readouterr().out) == {"figure": 1.5}


def test_a_page_names_machine_versions_date_and_command(report: Report) -> None:
    page = report.markdown("Title", "First.\n\nSecond.", table(["a", "b"], [["1", "2"]]))
    assert page.startswith("# Title\n\nFirst.\n\nSecond.\n\n")
    assert page.endswith("| a | b |\n|---|---|\n| 1 | 2 |\n")
    assert f"by `{report.command}`." in " ".join(page.split())
    assert "cores; python 3." in page
    assert (report.folder / "x.md").read_text() == page


def test_a_picture_has_the_panels_that_were_asked_for(report: Report) -> None:
    figure, axes = panels(2, 3)
    report.figure(figure)
    assert len(axes) == 6
    assert (report.folder / "x.png").read_bytes().startswith(b"\x89PNG")
