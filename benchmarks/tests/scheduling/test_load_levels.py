from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harness.client import Record
from benchmarks.scheduling.load_levels import draw, figures, turns

NAMES = ("s50", "s90", "s98")


def record(*subnets: str) -> Record:
    """One request a second, answered by these after half a second; an empty name is no answer."""
    due = np.arange(float(len(subnets)))
    answered = np.array([name != "" for name in subnets])
    return Record(
        due=due,
        sent=due,
        ended=np.where(answered, due + 0.5, np.inf),
        status=np.where(answered, 200, 0),
        subnet=np.array(subnets),
        queued=np.zeros(len(due)),
        computed=np.full(len(due), 0.005),
        inside=np.array([]),
    )


@pytest.mark.parametrize(
    ("path", "count"), [([], 0), ([1], 0), ([0, 1, 1, 2], 0), ([0, 1, 2, 1, 0], 1), ([1, 0, 0, 1, 0], 2)]
)
def test_a_turn_is_a_step_back(path: list[int], count: int) -> None:
    assert turns(path) == count


def test_every_step_tells_who_answered_and_how_calmly() -> None:
    first, second = figures(record("s50", "s50", "s90", "s98", "s90", ""), NAMES, (1.0, 3.0), 6.0)["steps"]
    assert first["answers by sub-net"] == {"s50": 2, "s90": 1, "s98": 0}
    assert (first["answered"], first["sub-net at the end"], first["turns"]) == (1.0, "s90", 0)
    assert first["p50, p99 ms"] == pytest.approx([500.0, 500.0])
    assert (second["requests"], second["answered"]) == (3, pytest.approx(2 / 3))
    assert (second["changes of level"], second["sub-net at the end"]) == (1, "s90")


def test_the_picture_shows_sub_nets_and_durations() -> None:
    figure = draw(record("s50", "s90", ""), NAMES, (1.0, 3.0), 3.0)
    assert len(figure.axes) == 2
