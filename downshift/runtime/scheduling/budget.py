"""The budget policy: the most accurate sub-net that fits the time per request this queue can afford."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from downshift.runtime.scheduling.policy import ALIKE, Decision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.runtime.profiling.batching import BatchCost
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import LoadSnapshot, QueueView, Reason, Waiting

HORIZON = 4.0  # budgets: the planning horizon of the burst headroom
AHEAD = 6.0  # batch durations: the look-ahead in which new arrivals must get the same sub-net
DEADLINE = attrgetter("deadline")
EXACT, TOLERANCE = 12, 0.2  # queue positions evaluated exactly; relative error allowed at those behind


@dataclass(frozen=True)
class BudgetPolicy:
    """Speed scaling under deadlines (Yao, Demers, Shenker 1995): a sparser sub-net is a faster clock.

    A sub-net must pass four tests; the most accurate that does answers the head:
    - Head deadline: its p99 fits the slack of the head.
    - Queue feasibility: with the queue in EDF order, slacks s_1 <= s_2 <= ... and n_j examples up to and
      including request j, the time per example is at most c = min_j (s_j - margin) / n_j. Compared with the
      p50, not the p99: the next decision corrects a slow batch.
    - Look-ahead fairness: requests behind the batch, and those expected to arrive meanwhile, can get the same
      sub-net (`backlog_time`); accuracy is concave in time, so an even share is the best one.
    - Burst headroom: after the batch, the queue and a burst of `reserve` standard deviations still meet their
      deadlines on the fastest sub-net (`burst_headroom`).

    margin: seconds reserved for delivering the answer. reserve: standard deviations of the arrival count.
    """

    margin: float = 0.0003
    reserve: float = 3.5

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:
        """The most accurate sub-net that passes all tests; else the cheapest within slack, or the fastest."""
        head = queue.waiting[0]
        slack = head.deadline - queue.now - self.margin
        least = profile.floor / queue.executors
        budget = head.deadline - head.arrival if head.budgeted else math.inf
        share = queue.executors * time_per_example(queue, self.margin, at_least=least)
        pressing = examples_due(queue, queue.now + ALIKE * budget)
        headroom = burst_headroom(budget, pressing, load, least, self.reserve)
        rate, executors = load.arrival_rate, queue.executors
        names = head.candidates
        if not head.budgeted:
            names = names[min(load.level, len(names) - 1) :]
        for name in names:
            for batch in reversed(profile.batches(name, head.examples, queue.examples)):
                if batch.bound <= slack:
                    if (
                        batch.cost <= share
                        and batch.bound - least * min(batch.size, pressing) <= headroom
                        and backlog_time(batch, pressing, rate, profile[name].floor)
                        <= executors * (budget + AHEAD * batch.typical)
                    ):
                        return Decision(name, batch.size, _reason(head, name, slack, profile))
                    break
        reason: Reason = "pinned" if head.pinned else "fastest"
        for batch in profile.cheapest(head.candidates, head.examples, queue.examples):
            if batch.bound <= slack:
                return Decision(batch.subnet, batch.size, reason)
        soonest = min(head.candidates, key=lambda name: profile[name].bound(head.examples))
        return Decision(soonest, head.examples, reason)


def time_per_example(queue: QueueView, margin: float, at_least: float) -> float:
    """The EDF feasibility bound: seconds each queued example may take so that no deadline is missed.

    Negative when a deadline has passed. The scan stops as soon as the bound is below `at_least`, the fastest
    time there is: below it the exact value changes no decision.
    """
    if queue.examples == len(queue.waiting) and queue.waiting[0].priority == queue.waiting[-1].priority:
        return _time_per_request(queue.waiting, queue.now + margin, at_least)
    share = math.inf
    examples = 0
    for waiting in queue.waiting:
        examples += waiting.examples
        share = min(share, (waiting.deadline - queue.now - margin) / examples)
        if share < at_least:
            break
    return share


def examples_due(queue: QueueView, deadline: float) -> int:
    """Queued examples with a deadline up to that one; the whole queue if all budgets are alike."""
    waiting = queue.waiting
    if waiting[0].priority != waiting[-1].priority:
        return sum(each.examples for each in waiting if each.deadline <= deadline)
    if waiting[-1].deadline <= deadline:
        return queue.examples
    due = bisect_right(waiting, deadline, key=DEADLINE)
    if queue.examples == len(waiting):
        return due
    return sum(each.examples for each in waiting[:due])


def backlog_time(batch: BatchCost, pressing: int, rate: float, floor: float) -> float:
    """Seconds this sub-net needs for the batch, the queue behind it and the arrivals during AHEAD batches.

    pressing: queued examples, those of the batch included. rate: arrivals, examples per second. floor: least
    seconds per example of the sub-net.
    """
    return batch.typical + (max(0, pressing - batch.size) + rate * AHEAD * batch.typical) * floor


def burst_headroom(budget: float, examples: int, load: LoadSnapshot, least: float, reserve: float) -> float:
    """Seconds an executor may be busy before a burst would miss deadlines; infinite without load.

    Model: a renewal process of rate r and variance v = r cv2 per second, every request with budget D. Within
    t seconds r t + z sqrt(v t) requests arrive, z being `reserve`. With n queued and f = `least` seconds per
    example, the headroom is D + t - f (n + r t + z sqrt(v t)), minimised over t up to HORIZON budgets.
    Negative when the burst would miss deadlines even now.
    """
    rate = load.arrival_rate
    if not rate or budget == math.inf:
        return math.inf
    spare = 1.0 - rate * least
    burst = least * reserve * math.sqrt(rate * load.burstiness)
    root = math.sqrt(HORIZON * budget)
    if spare > 0.0:
        root = min(root, burst / (2.0 * spare))
    return budget - least * examples + root * (spare * root - burst)


def _time_per_request(waiting: Sequence[Waiting], start: float, at_least: float) -> float:
    """`time_per_example` for requests of one example each, in a galloping scan of the queue.

    Deadlines ascend, so no request before position slack / share can lower the minimum: the scan jumps there.
    Behind position EXACT it jumps further and may miss a minimum that is lower by up to TOLERANCE; later
    decisions see that request nearer to the head.
    """
    count = len(waiting)
    share = (waiting[-1].deadline - start) / count
    number = 1
    while number <= count and share >= at_least:
        slack = waiting[number - 1].deadline - start
        if slack < share * number:
            share = slack / number
        if not 0.0 < share <= slack < math.inf:
            break
        further = int(slack / share if number < EXACT else slack / (share * (1.0 - TOLERANCE)))
        number = further + 1 if further > number else number + 1
    return share


def _reason(head: Waiting, name: str, slack: float, profile: Profile) -> Reason:
    if head.pinned:
        return "pinned"
    if name == head.candidates[0]:
        return "accurate"
    return "slack" if profile[head.candidates[0]].bound(head.examples) > slack else "queue"
