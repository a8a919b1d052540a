from __future__ import annotations

import numpy as np
import pytest

from downshift.runtime.simulator.replay import UNANSWERED, Replay
from tests.runtime.simulator.sample import trace, two

NONE = np.empty((0, 4))


def test_the_figures_by_hand() -> None:
    """Two in the first second, one of them in time; none in the next; two in the third, both in time."""
    arrivals = trace(0.1, 0.9, 2.0, 2.5, seconds=4.0)
    replay = Replay(arrivals, two(), np.array([0, UNANSWERED, 1, 1], np.int16), NONE)
    summary = replay.summary("it")
    assert [summary.served_accuracy, summary.effective_accuracy] == pytest.approx([2.5 / 3, 2.5 / 4])
    assert (summary.policy, summary.attainment, summary.goodput, summary.worst_second) == (
        "it",
        0.75,
        0.75,
        0.5,
    )


def test_without_answers_there_is_no_served_accuracy() -> None:
    summary = Replay(trace(0.1), two(), np.array([UNANSWERED], np.int16), NONE).summary("it")
    assert (summary.attainment, summary.served_accuracy, summary.effective_accuracy) == (0.0, None, 0.0)
