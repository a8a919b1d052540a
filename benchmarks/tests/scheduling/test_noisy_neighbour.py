from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harness.client import Record
from benchmarks.scheduling.noisy_neighbour import attainment, corrected, draw, figures, pause, recovery

BUDGET = 0.1


def record(*, late: tuple[float, float]) -> Record:
    """Ten requests a second for nine seconds, answered at once but for those due within `late`."""
    due = np.arange(0.05, 9.0, 0.1)
    slow = (due >= late[0]) & (due < late[1])
    return Record(
        due=due,
        sent=due,
        ended=due + np.where(slow, 0.2, 0.01),
        status=np.full(len(due), 200),
        subnet=np.where(slow, "", "s90"),
        queued=np.zeros(len(due)),
        computed=np.full(len(due), 0.005),
        inside=np.array([]),
    )


def test_attainment_is_the_share_in_time_of_what_was_due_in_each_window() -> None:
    shares = attainment(record(late=(3.0, 3.5)), BUDGET, np.array([0.0, 3.0, 4.0, 8.0]))
    assert shares.tolist() == [1.0, 0.5, 1.0]


def test_recovery_ends_with_the_last_window_that_is_not_good() -> None:
    assert recovery(record(late=(3.0, 4.2)), BUDGET, 3.0, 6.0) == pytest.approx(1.5)
    assert recovery(record(late=(0.0, 2.0)), BUDGET, 3.0, 6.0) == 0.0


def test_the_figures_tell_the_thirds_apart() -> None:
    seen = [(2.9, 1.0), (3.1, 1.0), (3.3, 1.9), (6.1, 1.9), (6.3, 1.0)]
    found = figures(record(late=(3.0, 4.0)), seen, BUDGET, 9.0)
    assert found["attainment before"] == found["attainment after"] == 1.0
    assert found["attainment beside the neighbour"] == pytest.approx(2 / 3)
    assert found["attainment in the neighbour's first second"] == 0.0
    moved, since = list(found.values())[-3:-1]
    assert moved == [pytest.approx(0.3), pytest.approx(0.3)]
    assert since == [1.0, 1.0]
    assert list(found.values())[-1] == pytest.approx([1.0, 0.0])


def test_the_server_is_asked_often_just_after_a_change_only() -> None:
    assert [pause(now, [3.0, 6.0]) for now in (0.0, 2.5, 3.0, 3.9, 4.5, 7.0)] == [
        1.0,
        0.5,
        0.1,
        0.1,
        1.0,
        1.0,
    ]


def test_a_correction_that_never_comes_is_none() -> None:
    assert corrected([(1.0, 1.0), (4.0, 1.0)], 3.0, slow=True) is None
    assert figures(record(late=(3.0, 4.0)), [], BUDGET, 9.0)["attainment after"] == 1.0


def test_the_picture_has_attainment_sub_nets_and_slowdown() -> None:
    figure = draw(record(late=(3.0, 4.0)), [(0.2, 1.0), (3.2, 1.9)], ["s90"], BUDGET, 9.0)
    assert [axis.get_ylabel().split(",")[0] for axis in figure.axes] == [
        "answered in time",
        "requests per second",
        "slowdown",
    ]
