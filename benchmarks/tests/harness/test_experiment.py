"""The frame of an experiment: help with an example, a report in its room, errors as one line."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.harness.errors import ExperimentError
from benchmarks.harness.experiment import RESULTS, experiment

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from benchmarks.harness.report import Report

ROOT = Path(__file__).parents[3]
DOC = """Is it fast?

    python -m benchmarks.server.fast --rounds 3
"""
EXPERIMENTS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for room in ("engines", "scheduling", "server", "training")
    for path in (ROOT / "benchmarks" / room).glob("*.py")
    if "main = experiment(__doc__" in path.read_text(encoding="utf-8")
)


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=1)


def test_the_report_goes_to_the_room_of_the_experiment() -> None:
    seen: list[tuple[int, Report]] = []

    def measure(chosen: Namespace, report: Report) -> None:
        seen.append((chosen.rounds, report))

    assert experiment(DOC, options, measure)(["--rounds", "2"]) == 0
    ((rounds, report),) = seen
    assert (rounds, report.folder, report.name) == (2, RESULTS / "server", "fast")
    assert report.command == "python -m benchmarks.server.fast --rounds 2"


def test_an_error_of_the_harness_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    def measure(_: Namespace, __: Report) -> None:
        raise ExperimentError("it cannot be")

    assert experiment(DOC, options, measure)([]) == 2
    assert capsys.readouterr().err == "error: it cannot be\n"


def test_a_docstring_without_an_example_is_refused() -> None:
    with pytest.raises(ValueError, match="no line `python -m benchmarks"):
        experiment("Is it fast?", options, lambda _, __: None)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_asks_a_question_and_its_help_shows_its_own_command(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(name)
    with pytest.raises(SystemExit) as caught:
        module.main(["--help"])
    assert caught.value.code == 0
    assert f"    python -m {name}" in capsys.readouterr().out
    assert "?" in str(module.__doc__).split("\n\n")[0]


def test_every_experiment_has_a_make_target_and_a_line_in_the_index() -> None:
    makefile, index = ((ROOT / path).read_text() for path in ("Makefile", "benchmarks/README.md"))
    assert len(EXPERIMENTS) == 20
    for name in EXPERIMENTS:
        target = "bench-" + name.rpartition(".")[2].replace("_", "-")
        assert f"\n{target}:" in makefile
        assert f"`make {target}`" in index
