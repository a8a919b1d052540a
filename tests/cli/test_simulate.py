"""`downshift simulate`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from downshift.cli import main
from downshift.runtime.profiling import profile_json
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
    result = CliRunner().invoke(main.app, ["simulate", "--profile", profile, *options])
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
        (("--trace", TRACE, "--threads", "2"), "--threads 2 contradicts --profile"),
        (("--trace", TRACE, "--slo-ms", "nan"), "--slo-ms nan: give milliseconds above 0"),
        (("--trace", "gamma:rate=9,seconds=1"), "cv2 is missing"),
        (("--trace", "poisson:rate=-9,seconds=1"), "rate=-9 is out of range"),
        (
            ("--trace", TRACE, "--executors", "999999999"),
            "'--executors': Input should be less than or equal to 100000",
        ),
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


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ("0.5\n0.25\n", "arrival 2 at 0.25 s is before the one ahead of it at 0.5 s; sort the trace by time"),
        ("-1\n0.5\n", "arrival 1 is at -1 s; times start at 0 or later"),
        ("0.5\nsoon\n", "line 2: 'soon' has no time or count in column 1; correct or remove the line"),
        ("nan\n", "arrival 1 is at nan; give finite seconds"),
        ("count\n3\n-1\n", "line 3: '-1' has no time or count"),
        ("", "no arrivals in it"),
    ],
)
def test_a_trace_that_cannot_be_is_one_line_and_exit_code_2(
    profile: str, tmp_path: Path, times: str, message: str
) -> None:
    (tmp_path / "trace.txt").write_text(times)
    code, out, err = simulate(profile, "--trace", str(tmp_path / "trace.txt"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_trace_may_last_longer_than_its_seconds_can_be_counted(profile: str, tmp_path: Path) -> None:
    (tmp_path / "trace.txt").write_text("0\n1e11\n")
    code, out, err = simulate(profile, "--trace", str(tmp_path / "trace.txt"), "--json")
    assert (code, err) == (0, "")
    assert [row["worst_second"] for row in json.loads(out)] == [1.0, 1.0, 1.0]


def test_a_profile_of_another_machine_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "theirs.json"
    file.write_text(profile_json.dumps(two()))
    code, out, err = simulate(str(file), "--trace", TRACE)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "another machine (cpu 'none'" in err
    assert "run `downshift profile` on this one" in err


def test_a_profile_that_is_none_is_refused(profile: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    code, _, err = simulate(str(tmp_path / "bad.json"), "--trace", TRACE)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{tmp_path / 'bad.json'}: not a profile" in err
