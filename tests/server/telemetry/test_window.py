from __future__ import annotations

import math

import pytest

from downshift.server.telemetry.window import Window


def test_an_empty_window_says_nothing() -> None:
    window = Window()
    assert math.isnan(window.attainment(5.0))
    assert math.isnan(window.served_accuracy(5.0))


def test_attainment_counts_all_and_accuracy_only_answers_in_time() -> None:
    window = Window()
    window.record(10.1, in_time=True, accuracy=0.9)
    window.record(10.2, in_time=True, accuracy=0.8)
    window.record(10.3, in_time=True)
    window.record(10.4, in_time=False, accuracy=0.1)
    assert window.attainment(11.0) == 0.75
    assert window.served_accuracy(11.0) == pytest.approx(0.85)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    window = Window(seconds=3)
    window.record(10.0, in_time=False)
    window.record(12.0, in_time=True)
    assert window.attainment(12.9) == 0.5
    assert window.attainment(13.0) == 1.0
    assert window.attainment(14.9) == 1.0
    assert math.isnan(window.attainment(15.0))


def test_a_slot_is_used_again_for_a_later_second() -> None:
    window = Window(seconds=3)
    window.record(10.0, in_time=False)
    window.record(13.0, in_time=True)
    assert window.attainment(13.0) == 1.0
