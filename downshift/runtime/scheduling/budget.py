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

HORIZON = 4.0  # budgets ahead for which a burst is expected
AHEAD = 6.0  # times as long as a batch, in which others keep coming that shall be served as accurately
DEADLINE = attrgetter("deadline")
EXACT, TOLERANCE = 12, 0.2  # requests looked at exactly, and by how much those behind may be misjudged


@dataclass(frozen=True)
class BudgetPolicy:
    """Speed scaling under deadlines (Yao, Demers, Shenker 1995), where a sparser sub-net is a faster clock.

    With the queue in order of deadline, slacks s_1 <= s_2 <= ... and n_j examples up to and including
    request j, each example may take c = min_j (s_j - margin) / n_j without endangering any later one. The
    head gets the most accurate sub-net whose p99 fits its own slack and whose p50 per example fits c:
    p99 for what is begun now, p50 for the sum, as bad luck is made good at the next decision.

    Beyond the queue it shares with those that will come, as accuracy grows ever more slowly with time: the
    sub-net must do for those behind the batch as well, the last of them due a budget after it came
    (`time_behind`). And it keeps room for a burst: while the batch runs, so many may arrive that they and the
    queue, even at the least time per example, just meet their deadlines (`room_before_a_burst`).

    margin: seconds kept for delivering the answer. reserve: standard deviations of arrivals kept room for.
    """

    margin: float = 0.0003
    reserve: float = 3.5

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:
        """The most accurate affordable sub-net; where nothing fits, the one that costs least."""
        head = queue.waiting[0]
        slack = head.deadline - queue.now - self.margin
        least = profile.floor / queue.executors
        budget = head.deadline - head.arrival if head.budgeted else math.inf
        share = queue.executors * time_per_example(queue, self.margin, at_least=least)
        pressing = examples_due(queue, queue.now + ALIKE * budget)
        room = room_before_a_burst(budget, pressing, load, least, self.reserve)
        rate, executors = load.arrival_rate, queue.executors
        names = head.candidates
        if not head.budgeted:
            names = names[min(load.level, len(names) - 1) :]
        for name in names:
            for batch in reversed(profile.batches(name, head.examples, queue.examples)):
                if batch.bound <= slack:
                    if (
                        batch.cost <= share
                        and batch.bound - least * min(batch.size, pressing) <= room
                        and time_behind(batch, pressing, rate, profile[name].floor)
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
    """Seconds each waiting example may take so that every request meets its deadline; may be negative.

    Stops looking once the result is below `at_least`, where it makes no difference any more.
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
    """How many waiting examples are due by then: all of them, where budgets are alike."""
    waiting = queue.waiting
    if waiting[0].priority != waiting[-1].priority:
        return sum(each.examples for each in waiting if each.deadline <= deadline)
    if waiting[-1].deadline <= deadline:
        return queue.examples
    due = bisect_right(waiting, deadline, key=DEADLINE)
    if queue.examples == len(waiting):
        return due
    return sum(each.examples for each in waiting[:due])


def time_behind(batch: BatchCost, pressing: int, rate: float, floor: float) -> float:
    """Seconds until all is done that comes while AHEAD such batches run, by the sub-net of this one.

    pressing: examples that wait, those of the batch among them. rate: more of them a second. floor: seconds
    for each.
    """
    return batch.typical + (max(0, pressing - batch.size) + rate * AHEAD * batch.typical) * floor


def room_before_a_burst(
    budget: float, examples: int, load: LoadSnapshot, least: float, reserve: float
) -> float:
    """Seconds an executor may be busy before a burst would cost deadlines; infinite without load.

    Requests come with the same budget D. Until t from now, r t of them arrive, and a burst brings z sqrt(v t)
    more, v = r cv2 being the variance a second of a renewal process. With n that wait, all take at least
    `least` seconds f each, by t + D: what may be spent first is D + t - f (n + r t + z sqrt(v t)) for the
    worst t up to HORIZON budgets. Negative when there is no room at all.
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
    """`time_per_example` for requests of one example each, which looks at few of them.

    Deadlines ascend, so those up to number slack / share need no look: their share cannot be smaller.
    Far back in the queue a share may be overlooked that is smaller by up to TOLERANCE; it comes nearer.
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
