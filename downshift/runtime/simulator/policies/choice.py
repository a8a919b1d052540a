"""What a policy chooses between: a sub-net and a batch size, with what the profile says about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.runtime.scheduling.policy import Decision

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import QueueView, Reason, Waiting


@dataclass(frozen=True, slots=True)
class Choice:
    """typical, bound: p50 and p99 seconds of a batch of `size` examples with that sub-net."""

    subnet: str
    size: int
    typical: float
    bound: float

    @property
    def throughput(self) -> float:
        """Examples per second, one such batch after the other."""
        return self.size / self.typical


def measured_choices(profile: Profile) -> tuple[Choice, ...]:
    """Every sub-net, most accurate first, at every measured batch size, smallest first."""
    return tuple(
        Choice(subnet.name, size, subnet.p50[size], subnet.p99[size])
        for subnet in profile.subnets
        for size in profile.batch_sizes
    )


def admissible(head: Waiting, name: str) -> str:
    """The sub-net, if it may answer the head; else the most accurate that may."""
    return name if name in head.candidates else head.candidates[0]


def run(queue: QueueView, name: str, size: int, reason: Reason = "slack") -> Decision:
    """The decision to run that sub-net, or what the head allows instead, on that many or all that wait."""
    head = queue.waiting[0]
    subnet = admissible(head, name)
    size = max(head.examples, min(size, queue.examples))
    return Decision(subnet, size, "pinned" if head.pinned else reason)


def largest_batch(queue: QueueView, profile: Profile, name: str, slack: float) -> int:
    """How many of those waiting, head included, the sub-net's p99 allows within the slack; may be 0."""
    latency = profile[name]
    return max(
        (n for n in _sizes(queue, profile) if latency.bound(n) <= slack),
        default=0,
    )


def _sizes(queue: QueueView, profile: Profile) -> list[int]:
    """Batch sizes to consider: the head alone, the measured ones the queue can fill, and all that waits."""
    head, most = queue.waiting[0].examples, min(queue.examples, profile.batch_sizes[-1])
    sizes = [head, *(size for size in profile.batch_sizes if head < size < most)]
    return [*sizes, most] if most > head else sizes
