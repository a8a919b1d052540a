"""The bar of a training run."""

from __future__ import annotations

import io

from rich.console import Console

from downshift.cli.training_bar import TrainingBar


def test_without_a_terminal_every_evaluation_is_one_plain_line() -> None:
    out = io.StringIO()
    with TrainingBar(Console(file=out, width=200)) as bar:
        bar.begin(3, 10)
        bar.step()
        bar.evaluated({"s50": 0.9, "s90": 0.8125})
        bar.say("done")
    assert out.getvalue() == "step 4/10  s50 90.0%  s90 81.2%\ndone\n"


def test_a_terminal_shows_steps_and_accuracies_in_one_bar() -> None:
    out = io.StringIO()
    with TrainingBar(Console(file=out, width=120, force_terminal=True)) as bar:
        bar.begin(3, 10)
        bar.step()
        bar.evaluated({"s50": 0.9})
    assert "4/10" in out.getvalue()
    assert "s50 90.0%" in out.getvalue()
