"""Shared parts of the baseline policies: the table of measured batches, and decisions that respect a pin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from downshift.runtime.profiling.batching import BatchCost, sizes
from downshift.runtime.scheduling.policy import Decision

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import QueueView, Reason, Waiting


def measured_batches(profile: Profile) -> tuple[BatchCost, ...]:
    """The cost of every (sub-net, measured batch size): most accurate first, then by size."""
    return tuple(
        BatchCost(subnet.name, size, subnet.p50[size], subnet.p99[size])
        for subnet in profile.subnets
        for size in profile.batch_sizes
    )


def admissible(head: Waiting, name: str) -> str:
    """The sub-net if it is a candidate of the head; else the head's most accurate candidate."""
    return name if name in head.candidates else head.candidates[0]


def run(queue: QueueView, name: str, size: int, reason: Reason = "slack") -> Decision:
    """The decision for that sub-net, or the head's candidate instead, and `size` capped by the queue."""
    head = queue.waiting[0]
    subnet = admissible(head, name)
    size = max(head.examples, min(size, queue.examples))
    return Decision(subnet, size, "pinned" if head.pinned else reason)


def largest_batch(queue: QueueView, profile: Profile, name: str, slack: float) -> int:
    """The largest batch, head included, whose p99 with that sub-net fits the slack; 0 if none does."""
    latency, head = profile[name], queue.waiting[0].examples
    candidates = sizes(head, queue.examples, profile.batch_sizes)
    return max((size for size in candidates if latency.bound(size) <= slack), default=0)
