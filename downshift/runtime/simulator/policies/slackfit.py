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
    """The batch with the largest batch among those about as slow as the head's slack allows.

    slowest: p99 seconds of the slowest batch in each bucket, ascending.
    batches: what each bucket stands for.
    """

    slowest: tuple[float, ...]
    batches: tuple[BatchCost, ...]

    @classmethod
    def build(cls, profile: Profile, buckets: int = BUCKETS) -> Self:
        """Evenly spaced buckets of latency from the fastest to the slowest batch; empty ones are left out.

        A bucket stands for its largest batch, of equals the most accurate.
        """
        batches = measured_batches(profile)
        low = min(batch.bound for batch in batches)
        width = (max(batch.bound for batch in batches) - low) / buckets or 1.0
        members: dict[int, list[BatchCost]] = {}
        for batch in batches:  # most accurate first, so that max() prefers it among equal batches
            members.setdefault(min(int((batch.bound - low) / width), buckets - 1), []).append(batch)
        filled = [members[bucket] for bucket in sorted(members)]
        return cls(
            tuple(max(batch.bound for batch in bucket) for bucket in filled),
            tuple(max(bucket, key=lambda batch: batch.size) for bucket in filled),
        )

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:  # noqa: ARG002
        """What the last bucket within the slack stands for; else the fastest of all, alone."""
        head = queue.waiting[0]
        bucket = bisect_right(self.slowest, head.deadline - queue.now) - 1
        if bucket < 0:
            return Decision(admissible(head, profile.names[-1]), head.examples, "fastest")
        batch = self.batches[bucket]
        return run(queue, batch.subnet, batch.size)
