"""INFaaS (Romero et al., ATC 2021): the model variant whose predicted latency is closest to the slack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.runtime.simulator.policies.choice import run

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile, SubnetLatency
    from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, QueueView


@dataclass(frozen=True)
class Infaas:
    """Of the sub-nets that answer the whole queue within the head's slack, the slowest (best fit).

    As in INFaaS, latency is a linear model of batch size through the smallest and largest measured size.
    """

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:  # noqa: ARG002
        """The best-fitting sub-net; else the fastest."""
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
