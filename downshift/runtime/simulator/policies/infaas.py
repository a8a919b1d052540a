"""INFaaS (Romero et al., ATC 2021): the variant that just fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.runtime.simulator.policies.choice import run

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile, SubnetLatency
    from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, QueueView


@dataclass(frozen=True)
class Infaas:
    """Among the sub-nets that answer all that waits within the head's slack, the one that leaves least of it.

    As INFaaS does, a batch's latency is predicted by a straight line through the smallest and the largest
    measured size.
    """

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:  # noqa: ARG002
        """The sub-net that just fits; else the fastest."""
        slack = queue.waiting[0].deadline - queue.now
        size = min(queue.examples, profile.batch_sizes[-1])
        seconds = {name: _line(profile[name], size) for name in queue.waiting[0].candidates}
        left = {name: slack - value for name, value in seconds.items() if value <= slack}
        if left:
            return run(queue, min(left, key=left.__getitem__), size)
        return run(queue, min(seconds, key=seconds.__getitem__), size, "fastest")


def _line(latency: SubnetLatency, size: int) -> float:
    first, last = latency.p99[1], latency.p99[-1]
    return first + (last - first) * (size - 1) / max(1, latency.max_batch - 1)
