from __future__ import annotations

from downshift.runtime.gpu.busy import BusyMeter
from tests.runtime.doubles import FakeClock


def test_time_inside_counts_and_time_between_does_not() -> None:
    clock = FakeClock()
    meter = BusyMeter(clock.now)
    for seconds in (1.0, 0.5):
        with meter:
            clock.advance(seconds)
        clock.advance(10.0)
    assert meter.seconds == 1.5


def test_what_is_running_counts_up_to_now() -> None:
    clock = FakeClock()
    meter = BusyMeter(clock.now)
    with meter:
        clock.advance(2.0)
        assert meter.seconds == 2.0
        clock.advance(1.0)
    assert meter.seconds == 3.0


def test_two_executors_on_one_device_do_not_count_twice() -> None:
    clock = FakeClock()
    meter = BusyMeter(clock.now)
    with meter:
        clock.advance(1.0)
        with meter:
            clock.advance(2.0)
        clock.advance(4.0)
    clock.advance(8.0)
    assert meter.seconds == 7.0
