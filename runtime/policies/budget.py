"""The budget policy: the most accurate sub-net that fits the time per request this queue can afford."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.policy import Decision

if TYPE_CHECKING:
    from runtime.load import LoadSnapshot
    from runtime.policy import QueueView, Reason, Waiting
    from runtime.profile import Profile, SubnetLatency

WORTHWHILE = 0.9  # a larger batch must cost an example at most this share of what a smaller one costs


@dataclass(frozen=True)
class BudgetPolicy:
    """Speed scaling under deadlines (Yao, Demers, Shenker 1995), where a sparser sub-net is a faster clock.

    With the queue in order of deadline, slacks s_1 <= s_2 <= ... and n_j examples up to and including
    request j, each example may take c = min_j (s_j - margin) / n_j without endangering any later one. The
    head gets the most accurate sub-net whose p99 fits its own slack and whose p50 per example fits c:
    p99 for the one promise made now, p50 for the sum, as bad luck is made good at the next decision.

    margin: seconds kept for delivering the answer.
    """

    margin: float = 0.001

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:  # noqa: ARG002
        """The most accurate affordable sub-net; where nothing fits, the one that costs least."""
        head = queue.waiting[0]
        slack = head.deadline - queue.now - self.margin
        share = time_per_example(queue, self.margin, at_least=profile.floor)
        sizes = _batch_sizes(head.examples, queue.examples, profile.batch_sizes)
        for name in head.candidates:
            latency = profile[name]
            size = _worthwhile_size(latency, sizes, slack)
            if size and latency.typical(size) <= share * size:
                return Decision(name, size, _reason(head, name, slack, profile))
        name, size = _cheapest(head, sizes, slack, profile)
        return Decision(name, size, "pinned" if head.pinned else "fastest")


def time_per_example(queue: QueueView, margin: float, at_least: float) -> float:
    """Seconds each waiting example may take so that every request meets its deadline; may be negative.

    Stops looking once the result is below `at_least`, where it makes no difference any more.
    """
    share = math.inf
    examples = 0
    for waiting in queue.waiting:
        examples += waiting.examples
        share = min(share, (waiting.deadline - queue.now - margin) / examples)
        if share < at_least:
            break
    return share


def _batch_sizes(head: int, queued: int, measured: tuple[int, ...]) -> list[int]:
    """Batch sizes to consider: the head alone, the measured ones the queue can fill, and all that waits."""
    most = min(queued, measured[-1])
    sizes = [head, *(size for size in measured if head < size < most)]
    return [*sizes, most] if most > head else sizes


def _worthwhile_size(latency: SubnetLatency, sizes: list[int], slack: float) -> int:
    """The largest size within the slack at which batching pays; 0 when not even the head alone fits."""
    best, cost = 0, math.inf
    for size in sizes:
        if latency.bound(size) > slack:
            break
        if latency.typical(size) < WORTHWHILE * cost * size:
            best, cost = size, latency.typical(size) / size
    return best


def _cheapest(head: Waiting, sizes: list[int], slack: float, profile: Profile) -> tuple[str, int]:
    """What costs the least time per example within the slack, else what answers the head soonest."""
    choices = [
        (profile[name].typical(size) / size, name, size)
        for name in head.candidates
        for size in sizes
        if profile[name].bound(size) <= slack
    ]
    if choices:
        _, name, size = min(choices)
        return name, size
    return min(head.candidates, key=lambda name: profile[name].bound(head.examples)), head.examples


def _reason(head: Waiting, name: str, slack: float, profile: Profile) -> Reason:
    if head.pinned:
        return "pinned"
    if name == head.candidates[0]:
        return "accurate"
    return "slack" if profile[head.candidates[0]].bound(head.examples) > slack else "queue"
