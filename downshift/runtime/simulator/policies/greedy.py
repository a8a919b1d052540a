"""Two greedy policies: maximise accuracy or batch size for the head, regardless of the queue behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.runtime.simulator.policies.choice import largest_batch, run

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, QueueView


@dataclass(frozen=True)
class MaxAccuracy:
    """The most accurate sub-net whose p99 fits the head's slack, then the largest batch that still fits."""

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:  # noqa: ARG002
        """The most accurate sub-net that fits; else the fastest sub-net for the head alone."""
        slack = queue.waiting[0].deadline - queue.now
        for name in queue.waiting[0].candidates:
            if size := largest_batch(queue, profile, name, slack):
                return run(queue, name, size)
        return run(queue, profile.names[-1], 1, "fastest")


@dataclass(frozen=True)
class MaxBatch:
    """The largest batch that any sub-net answers within the head's slack, then the most accurate for it."""

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:  # noqa: ARG002
        """The largest batch that fits; else the fastest sub-net for the head alone."""
        slack = queue.waiting[0].deadline - queue.now
        names = queue.waiting[0].candidates
        size, _, name = max(
            (largest_batch(queue, profile, name, slack), -rank, name) for rank, name in enumerate(names)
        )
        return run(queue, name, size) if size else run(queue, profile.names[-1], 1, "fastest")
