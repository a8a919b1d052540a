from __future__ import annotations

from downshift.runtime.scheduling.fixed import FixedPolicy
from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, QueueView, Waiting
from tests.runtime.doubles import profile

IDLE = LoadSnapshot()


def decide(*requests: Waiting, now: float = 0.0) -> Decision:
    queue = QueueView(now, requests, sum(request.examples for request in requests))
    return FixedPolicy("s90").decide(queue, IDLE, profile())


def due(deadline: float, candidates: tuple[str, ...] = ("s50", "s90", "s98")) -> Waiting:
    return Waiting(0.0, deadline, 1, candidates)


def test_the_fixed_sub_net_answers_however_late_it_is() -> None:
    assert decide(due(9.0)) == Decision("s90", 1, "fixed")
    assert decide(due(-1.0)) == Decision("s90", 1, "fixed")


def test_the_batch_is_the_largest_measured_one_that_fits_slack_and_queue() -> None:
    assert decide(*[due(9.0)] * 5).batch_size == 4
    assert decide(*[due(9.0)] * 3).batch_size == 2
    assert decide(*[due(0.009)] * 5).batch_size == 2
    assert decide(*[due(5.009)] * 5, now=5.0).batch_size == 2


def test_a_request_that_rules_the_fixed_sub_net_out_gets_its_own_best() -> None:
    assert decide(due(9.0, ("s50",))) == Decision("s50", 1, "pinned")
    assert decide(due(9.0, ("s50", "s70"))) == Decision("s50", 1, "fixed")
