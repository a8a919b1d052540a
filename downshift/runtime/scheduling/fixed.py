"""The fixed policy: always the same sub-net, whatever the load; the yardstick for all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.runtime.scheduling.policy import Decision

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import LoadSnapshot, QueueView


@dataclass(frozen=True)
class FixedPolicy:
    """Answers with `subnet`, in the largest batch whose p99 fits the head's slack.

    A request that pins another sub-net, or whose accuracy floor rules this one out, gets its own best.
    """

    subnet: str

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:  # noqa: ARG002
        """The fixed sub-net, or the head's most accurate candidate where that is not among them."""
        head = queue.waiting[0]
        slack = head.deadline - queue.now
        name = self.subnet if self.subnet in head.candidates else head.candidates[0]
        latency = profile[name]
        fitting = [
            size
            for size in profile.batch_sizes
            if head.examples < size <= queue.examples and latency.bound(size) <= slack
        ]
        return Decision(name, max(fitting, default=head.examples), "pinned" if head.pinned else "fixed")
