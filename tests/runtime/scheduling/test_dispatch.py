from __future__ import annotations

from downshift.runtime.scheduling.budget import BudgetPolicy
from downshift.runtime.scheduling.dispatch import Dispatch
from downshift.runtime.scheduling.policy import Waiting
from downshift.runtime.simulator.synthetic import synthetic_profile

SUBNETS = (("s50", 0.5, 0.9, 0.010), ("s90", 0.9, 0.8, 0.001))
PROFILE = synthetic_profile(SUBNETS, batch_sizes=(1, 2, 4, 8, 16), fixed=0.8)  # sixteen on s90 take 4 ms


def waiting(budget: float, deadline: float) -> Waiting:
    return Waiting(deadline - budget, deadline, 1, PROFILE.names)


def test_who_has_no_slack_for_the_batch_that_the_queue_needs_is_given_up_but_not_who_needs_none() -> None:
    """33 with budgets of 12 ms need batches; the one with a second is in no such hurry, and has 2 ms left."""
    dispatch: Dispatch[Waiting] = Dispatch(PROFILE, BudgetPolicy(), capacity=99)
    crowd = [waiting(0.012, 0.0110)] * 3
    alone, rest = waiting(1.0, 0.0115), [waiting(0.012, 0.0200)] * 30
    for item in (*crowd, alone, *rest):
        dispatch.queue.push(item)
    assert dispatch.give_up(0.0095) == crowd
    assert dispatch.queue.head is alone


def test_nobody_is_given_up_where_the_queue_can_be_answered_one_by_one() -> None:
    dispatch: Dispatch[Waiting] = Dispatch(PROFILE, BudgetPolicy(), capacity=99)
    for item in [waiting(0.040, 0.0110), *[waiting(0.040, 0.0495)] * 30]:
        dispatch.queue.push(item)
    assert dispatch.give_up(0.0095) == []
