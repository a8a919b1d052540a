"""SlackFit, the policy of SuperServe (Khare et al., NSDI 2025), as described in its paper."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from downshift.runtime.scheduling.policy import Decision
from downshift.runtime.simulator.policies.choice import admissible, measured_choices, run

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.load import LoadSnapshot
    from downshift.runtime.scheduling.policy import QueueView
    from downshift.runtime.simulator.policies.choice import Choice

BUCKETS = 32


@dataclass(frozen=True)
class SlackFit:
    """The choice with the largest batch among those about as slow as the head's slack allows.

    slowest: p99 seconds of the slowest choice in each bucket, ascending.
    choices: what each bucket stands for.
    """

    slowest: tuple[float, ...]
    choices: tuple[Choice, ...]

    @classmethod
    def build(cls, profile: Profile, buckets: int = BUCKETS) -> Self:
        """Evenly spaced buckets of latency from the fastest to the slowest choice; empty ones are left out.

        A bucket stands for its largest batch, of equals the most accurate.
        """
        choices = measured_choices(profile)
        low = min(choice.bound for choice in choices)
        width = (max(choice.bound for choice in choices) - low) / buckets or 1.0
        members: dict[int, list[Choice]] = {}
        for choice in choices:  # most accurate first, so that max() prefers it among equal batches
            members.setdefault(min(int((choice.bound - low) / width), buckets - 1), []).append(choice)
        filled = [members[bucket] for bucket in sorted(members)]
        return cls(
            tuple(max(choice.bound for choice in bucket) for bucket in filled),
            tuple(max(bucket, key=lambda choice: choice.size) for bucket in filled),
        )

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:  # noqa: ARG002
        """What the last bucket within the slack stands for; else the fastest of all, alone."""
        head = queue.waiting[0]
        bucket = bisect_right(self.slowest, head.deadline - queue.now) - 1
        if bucket < 0:
            return Decision(admissible(head, profile.names[-1]), head.examples, "fastest")
        choice = self.choices[bucket]
        return run(queue, choice.subnet, choice.size)
