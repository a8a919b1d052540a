"""SlackFit, the policy of SuperServe (Khare et al., NSDI 2025), as described in its paper."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from downshift.runtime.scheduling.policy import Decision
from downshift.runtime.simulator.policies.choice import admissible, measured_batches, run

if TYPE_CHECKING:
    from downshift.runtime.profiling.batching import BatchCost
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import LoadSnapshot, QueueView

BUCKETS = 32


@dataclass(frozen=True)
class SlackFit:
    """The largest batch in the latency bucket just below the head's slack.

    slowest: p99 seconds of the slowest batch of each bucket, ascending. batches: the choice of each bucket.
    """

    slowest: tuple[float, ...]
    batches: tuple[BatchCost, ...]

    @classmethod
    def build(cls, profile: Profile, buckets: int = BUCKETS) -> Self:
        """Latency buckets of equal width from the fastest to the slowest batch, without empty ones.

        The choice of a bucket is its largest batch; ties go to the most accurate sub-net.
        """
        batches = measured_batches(profile)
        low = min(batch.bound for batch in batches)
        width = (max(batch.bound for batch in batches) - low) / buckets or 1.0
        members: dict[int, list[BatchCost]] = {}
        for batch in batches:  # most accurate first: max() returns the first of equals
            members.setdefault(min(int((batch.bound - low) / width), buckets - 1), []).append(batch)
        filled = [members[bucket] for bucket in sorted(members)]
        return cls(
            tuple(max(batch.bound for batch in bucket) for bucket in filled),
            tuple(max(bucket, key=lambda batch: batch.size) for bucket in filled),
        )

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:  # noqa: ARG002
        """The choice of the last bucket within the slack; else the fastest sub-net for the head alone."""
        head = queue.waiting[0]
        bucket = bisect_right(self.slowest, head.deadline - queue.now) - 1
        if bucket < 0:
            return Decision(admissible(head, profile.names[-1]), head.examples, "fastest")
        batch = self.batches[bucket]
        return run(queue, batch.subnet, batch.size)
