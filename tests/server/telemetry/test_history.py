from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pytest
from prometheus_client import CollectorRegistry

from downshift.runtime.errors import (
    DeadlineExpired,
    DeadlineImpossible,
    Draining,
    EngineFailed,
    InvalidRequest,
    QueueFull,
)
from downshift.runtime.gpu.monitor import Gpu
from downshift.runtime.request import Outcome, Request
from downshift.server.telemetry.history import NO_MODEL, History, Sample
from downshift.server.telemetry.metrics import Metrics, SchedulerEvents
from tests.runtime.doubles import settled

REQUEST = Request(np.zeros((1, 1), np.float32))
ACCURACY = {"s50": 0.9, "s90": 0.8, "s95": None}


@dataclass
class Past:
    """A history on a clock that the test sets, and the observer of its model `pets`."""

    seconds: int = 300
    time: float = 100.0
    history: History = field(init=False)

    def __post_init__(self) -> None:
        self.history = History(self.seconds, now=lambda: self.time)
        metrics = Metrics(CollectorRegistry(), now=lambda: self.time)
        metrics.history = self.history
        self.events = SchedulerEvents(metrics, "pets", ACCURACY)

    def settle(self, outcome: Outcome, subnet: str | None, queue: float = 0.0, error: Any = None) -> None:
        self.events.settled(settled(REQUEST, outcome, subnet, "x" if subnet else None, queue, 0.001, error))


def test_a_second_tells_how_requests_ended_who_answered_and_how_long_they_waited() -> None:
    past = Past()
    past.settle(Outcome.OK, "s50", 0.001)
    past.settle(Outcome.OK, "s90", 0.004)
    past.settle(Outcome.OK, "s95", 0.001)
    past.settle(Outcome.LATE, "s90", 0.002)
    past.settle(Outcome.EXPIRED, None, error=DeadlineExpired(0.1))
    past.settle(Outcome.CANCELLED, None)
    past.time = 101.0
    assert past.history.since(99) == [
        {
            "second": 100,
            "models": {
                "pets": {
                    "outcomes": {"ok": 3, "late": 1, "expired": 1, "cancelled": 1},
                    "answers": {"s50": 1, "s90": 2, "s95": 1},
                    "accuracy": 0.85,
                    "queue_ms": 2.0,
                    "longest_queue_ms": 4.0,
                }
            },
        }
    ]


def test_who_failed_did_not_answer() -> None:
    past = Past()
    past.settle(Outcome.FAILED, "s50", 0.003, EngineFailed("x", "s50"))
    past.time = 101.0
    (second,) = past.history.since(99)
    pets = second["models"]["pets"]
    assert (pets["outcomes"], pets["answers"], pets["accuracy"]) == ({"failed": 1}, {}, None)


@pytest.mark.parametrize(
    ("error", "outcomes"),
    [
        (QueueFull(8, 1.0), {"shed": 1}),
        (Draining(), {"shed": 1}),
        (DeadlineImpossible(0.1, 0.2), {"expired": 1}),
    ],
)
def test_refusals_at_the_door_are_counted(error: Exception, outcomes: dict[str, int]) -> None:
    past = Past()
    past.events.rejected(REQUEST, error)
    past.time = 101.0
    assert orjson.loads(orjson.dumps(past.history.since(99)))[0]["models"]["pets"]["outcomes"] == outcomes


def test_what_cannot_be_understood_is_none_of_the_model_s() -> None:
    past = Past()
    past.events.rejected(REQUEST, InvalidRequest("no"))
    past.time = 101.0
    assert past.history.since(99) == [{"second": 100, "models": {}}]


def test_refusals_before_a_model_is_found_count_for_attainment_alone() -> None:
    past = Past()
    past.settle(Outcome.OK, "s50")
    past.history.ended(NO_MODEL, Outcome.SHED)
    assert past.history.attainment() == 0.5
    past.time = 101.0
    assert past.history.since(99)[0]["models"].keys() == {"pets"}


def test_without_requests_there_is_no_attainment_and_no_accuracy() -> None:
    past = Past()
    assert math.isnan(past.history.attainment())
    assert math.isnan(past.history.served_accuracy())


def test_attainment_counts_all_but_the_clients_doing_and_accuracy_only_answers_in_time() -> None:
    past = Past()
    past.settle(Outcome.OK, "s50")
    past.settle(Outcome.OK, "s90")
    past.settle(Outcome.OK, "s95")
    past.settle(Outcome.LATE, "s90")
    assert past.history.attainment() == 0.75
    past.settle(Outcome.CANCELLED, None)
    past.events.rejected(REQUEST, InvalidRequest("no"))
    assert past.history.attainment() == 0.75
    past.history.ended("cars", Outcome.EXPIRED)
    assert past.history.attainment() == 0.6, "all models together"
    assert past.history.served_accuracy() == pytest.approx(0.85)


def test_attainment_forgets_what_is_older_than_its_seconds() -> None:
    past = Past()
    past.settle(Outcome.LATE, "s50")
    past.time = 102.0
    past.settle(Outcome.OK, "s50")
    past.time = 102.9
    assert past.history.attainment(3) == 0.5
    past.time = 103.0
    assert past.history.attainment(3) == 1.0
    past.time = 104.9
    assert past.history.attainment(3) == 1.0
    past.time = 105.0
    assert math.isnan(past.history.attainment(3))


def test_a_slot_of_the_ring_is_used_again_for_a_later_second() -> None:
    past = Past(seconds=3)
    past.settle(Outcome.LATE, "s50")
    past.time = 104.0
    past.settle(Outcome.OK, "s50")
    assert past.history.attainment() == 1.0


def test_only_whole_seconds_are_told_and_each_once() -> None:
    past = Past()
    past.settle(Outcome.OK, "s50")
    assert [each["second"] for each in past.history.since(97)] == [98, 99]
    past.time = 102.5
    assert [each["second"] for each in past.history.since(99)] == [100, 101]
    assert past.history.since(101) == []


def test_what_is_older_than_the_ring_is_forgotten() -> None:
    past = Past(seconds=3)
    for second in range(100, 110):
        past.time = second + 0.5
        past.settle(Outcome.OK, "s50")
        past.history.sample(Sample(second / 1000, (), {"pets": (second, 0)}))
    told = past.history.since(-1)
    assert [each["second"] for each in told] == [106, 107, 108]
    assert [each["models"]["pets"]["outcomes"] for each in told] == [{"ok": 1}] * 3
    assert [each["models"]["pets"]["queued"] for each in told] == [107, 108, 109]
    assert [each["cpu"] for each in told] == [0.107, 0.108, 0.109]


def test_a_second_before_the_first_pass_of_the_ring_is_not_taken_for_a_later_one() -> None:
    past = Past(seconds=3)
    past.settle(Outcome.OK, "s50")
    past.time = 104.9
    assert all("outcomes" not in each["models"].get("pets", {}) for each in past.history.since(-1))


def test_a_sample_tells_of_load_and_work() -> None:
    past = Past()
    past.time = 101.0
    past.history.sample(Sample(0.25, (Gpu("a", 0.5, 7),), {"pets": (3, 2)}))
    assert past.history.since(99) == [
        {
            "second": 100,
            "cpu": 0.25,
            "gpus": [{"utilization": 0.5, "memory": 7}],
            "models": {"pets": {"queued": 3, "in_flight": 2}},
        }
    ]
