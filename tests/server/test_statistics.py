from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from downshift.runtime.errors import (
    DeadlineExpired,
    DeadlineImpossible,
    EngineFailed,
    InvalidRequest,
    QueueFull,
    RuntimeFault,
)
from downshift.runtime.request import Outcome, Request
from downshift.server.errors import BadInput, ClientGone, DecodersBusy, row_of
from downshift.server.statistics import Duration, FailureReason, Statistics, model_stats
from tests.runtime import doubles as runtime

if TYPE_CHECKING:
    from downshift.runtime.scheduling.lifecycle import Batch, Settled

REQUEST = Request(np.zeros((2, 3, 2, 2), np.float32))
NOW = 1_700_000_000.25


def settled(outcome: Outcome, error: RuntimeFault | None = None) -> Settled:
    return runtime.settled(REQUEST, outcome, "s90", "scripted", 0.5, 0.25, error)


def batch(examples: int) -> Batch:
    return runtime.batch("s90", "scripted", "slack", requests=1, examples=examples, expected_seconds=0.25)


@pytest.fixture
def statistics() -> Statistics:
    return Statistics(now=lambda: NOW)


def test_at_first_everything_is_zero(statistics: Statistics) -> None:
    now = statistics.snapshot
    assert (
        now.success == now.queue == now.compute_input == now.compute_infer == now.compute_output == Duration()
    )
    assert dict(now.failures) == dict.fromkeys(FailureReason, Duration())
    assert (now.inferences, dict(now.executions), now.last_inference) == (0, {}, 0.0)


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.LATE])
def test_an_answer_is_a_success_even_when_late(statistics: Statistics, outcome: Outcome) -> None:
    statistics.settled(settled(outcome))
    now = statistics.snapshot
    assert now.success == Duration(1, 0.75)
    assert (now.queue, now.compute_infer) == (Duration(1, 0.5), Duration(1, 0.25))
    assert now.compute_input == now.compute_output == Duration(1, 0.0), "a client may ask at any moment"
    assert (now.inferences, now.last_inference) == (2, NOW)


def test_reading_and_writing_belong_to_the_success(statistics: Statistics) -> None:
    statistics.settled(settled(Outcome.OK))
    statistics.coded(0.125, 0.0625)
    now = statistics.snapshot
    assert (now.compute_input, now.compute_output) == (Duration(1, 0.125), Duration(1, 0.0625))
    assert now.success == Duration(1, 0.9375)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (settled(Outcome.EXPIRED, DeadlineExpired(1.0)), FailureReason.REJECTED),
        (settled(Outcome.FAILED, EngineFailed("scripted", "s90")), FailureReason.BACKEND),
        (settled(Outcome.CANCELLED), FailureReason.CANCELED),
    ],
    ids=["expired", "failed", "cancelled"],
)
def test_an_accepted_request_without_an_answer_is_one_failure(
    statistics: Statistics, event: Settled, reason: FailureReason
) -> None:
    statistics.settled(event)
    now = statistics.snapshot
    assert dict(now.failures) == dict.fromkeys(FailureReason, Duration()) | {reason: Duration(1, 0.75)}
    assert now.success == now.queue == Duration()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (QueueFull(8, 1.0), FailureReason.REJECTED),
        (DeadlineImpossible(0.001, 0.002), FailureReason.REJECTED),
        (InvalidRequest("shape"), FailureReason.OTHER),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refusal_at_the_door_is_one_failure(
    statistics: Statistics, error: Exception, reason: FailureReason
) -> None:
    statistics.rejected(REQUEST, error)
    assert statistics.snapshot.failures[reason] == Duration(1, 0.0)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BadInput("what"), FailureReason.OTHER),
        (ClientGone("gone"), FailureReason.CANCELED),
        (DecodersBusy(8), FailureReason.REJECTED),
        (DeadlineExpired(0.1), FailureReason.REJECTED),
    ],
)
def test_a_request_that_ends_while_it_is_read_is_one_failure(
    statistics: Statistics, error: Exception, reason: FailureReason
) -> None:
    statistics.refused(row_of(error).outcome)
    assert statistics.snapshot.failures[reason] == Duration(1, 0.0)


def test_executions_are_counted_by_size_and_failed_ones_are_not(statistics: Statistics) -> None:
    statistics.finished(batch(4), 0.5, None)
    statistics.finished(batch(1), 0.25, None)
    statistics.finished(batch(4), 0.5, None)
    statistics.finished(batch(8), 0.5, RuntimeError("broken"))
    assert list(statistics.snapshot.executions.items()) == [(1, Duration(1, 0.25)), (4, Duration(2, 1.0))]


def test_no_count_is_lost_between_threads(statistics: Statistics) -> None:
    def work() -> None:
        for _ in range(500):
            statistics.settled(settled(Outcome.OK))
            statistics.coded(0.0, 0.0)
            statistics.rejected(REQUEST, QueueFull(8, 1.0))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = statistics.snapshot
    assert now.success.count == now.compute_input.count == now.failures[FailureReason.REJECTED].count == 2000


def test_the_extension_s_json_is_this(statistics: Statistics) -> None:
    statistics.finished(batch(2), 0.25, None)
    statistics.settled(settled(Outcome.OK))
    statistics.coded(0.125, 0.0625)
    statistics.rejected(REQUEST, QueueFull(8, 1.0))
    statistics.settled(settled(Outcome.CANCELLED))
    assert model_stats("pets", "3", statistics.snapshot) == {
        "name": "pets",
        "version": "3",
        "last_inference": 1_700_000_000_250,
        "inference_count": 2,
        "execution_count": 1,
        "inference_stats": {
            "success": {"count": 1, "ns": 937_500_000},
            "fail": {"count": 2, "ns": 750_000_000},
            "queue": {"count": 1, "ns": 500_000_000},
            "compute_input": {"count": 1, "ns": 125_000_000},
            "compute_infer": {"count": 1, "ns": 250_000_000},
            "compute_output": {"count": 1, "ns": 62_500_000},
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        },
        "batch_stats": [
            {
                "batch_size": 2,
                "compute_input": {"count": 1, "ns": 0},
                "compute_infer": {"count": 1, "ns": 250_000_000},
                "compute_output": {"count": 1, "ns": 0},
            }
        ],
    }
