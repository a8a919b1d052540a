"""`downshift simulate`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import downshift
from tests.runtime.simulator.sample import two

if TYPE_CHECKING:
    from pathlib import Path

TRACE = "poisson:rate=200,seconds=2,seed=1"
FIELDS = ("policy", "attainment", "served_accuracy", "effective_accuracy", "goodput", "worst_second")


@pytest.fixture
def profile(tmp_path: Path) -> str:
    file = tmp_path / "profile.json"
    file.write_text(json.dumps([asdict(measurement) for measurement in two().measurements]))
    return str(file)


def simulate(profile: str, *options: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(downshift.app, ["simulate", "--profile", profile, *options])
    return result.exit_code, result.stdout, result.stderr


def test_json_lists_every_policy_with_its_figures(profile: str) -> None:
    code, out, _ = simulate(profile, "--trace", TRACE, "--slo-ms", "30", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["policy"] for row in rows] == ["downshift", "slackfit", "oracle"]
    assert all(set(FIELDS) <= set(row) for row in rows)
    assert rows[0]["effective_accuracy"] <= rows[-1]["effective_accuracy"]


def test_all_policies_at_two_loads_leave_a_table_and_pictures(profile: str, tmp_path: Path) -> None:
    options = ("--trace", TRACE, "--slo-ms", "30", "--load", "1,4", "--executors", "2")
    code, out, _ = simulate(profile, *options, "--policy", "all", "--out", str(tmp_path / "out"))
    assert code == 0
    assert all(name in out for name in ("downshift", "ramsis", "clipper:s90", "oracle"))
    with (tmp_path / "out" / "results.csv").open() as file:
        assert {line["policy"] for line in csv.DictReader(file)} >= {"downshift", "ramsis", "fixed:s50"}
    assert (tmp_path / "out" / "load.png").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--trace", "nowhere.csv"), "trace 'nowhere.csv': neither a file nor one of"),
        (("--trace", TRACE, "--slo-ms", "0"), "--slo-ms 0.0: give milliseconds above 0"),
        (("--trace", TRACE, "--policy", "magic"), "unknown policy 'magic'"),
        (("--trace", TRACE, "--load", "0"), "loads '0': give numbers above 0"),
        (("--trace", TRACE, "--executors", "0"), "'--executors': Input should be greater than or equal to 1"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_exit_code_2(
    profile: str, options: tuple[str, ...], message: str
) -> None:
    code, out, err = simulate(profile, *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_profile_that_is_none_is_refused(profile: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    code, _, err = simulate(str(tmp_path / "bad.json"), "--trace", TRACE)
    assert (code, err.count("\n")) == (2, 1)
    assert "not a profile" in err
