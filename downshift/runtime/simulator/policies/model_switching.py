"""Model-Switching (Zhang et al., HotCloud 2020), and Jellyfish: a sub-net by arrival rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from downshift.runtime.simulator.policies.choice import measured_batches, run

if TYPE_CHECKING:
    from downshift.runtime.profiling.batching import BatchCost
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, QueueView

HEADROOM = 1.05  # required throughput over arrival rate
LATENCY_SHARE = 0.5  # of the SLO: a request may queue behind one whole batch


@dataclass(frozen=True)
class ModelSwitching:
    """The most accurate sub-net whose throughput covers the arrival rate with batches within half the SLO.

    batches: the batch of highest throughput of each sub-net, most accurate first.
    """

    batches: tuple[BatchCost, ...]

    @classmethod
    def build(cls, profile: Profile, slo: float) -> Self:
        """The table for a profile and an SLO in seconds."""
        best: dict[str, BatchCost] = {}
        for batch in measured_batches(profile):
            fits = batch.bound <= LATENCY_SHARE * slo
            if fits and (batch.subnet not in best or batch.cost < best[batch.subnet].cost):
                best[batch.subnet] = batch
        fastest = min(measured_batches(profile), key=lambda batch: batch.bound)
        return cls(tuple(best.values()) or (fastest,))

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:  # noqa: ARG002
        """The most accurate sub-net that sustains the rate; else the one of highest throughput."""
        needed = HEADROOM * load.arrival_rate / queue.executors
        for batch in self.batches:
            if batch.size / batch.typical >= needed:
                return run(queue, batch.subnet, batch.size, "queue")
        batch = min(self.batches, key=lambda batch: batch.cost)
        return run(queue, batch.subnet, batch.size, "fastest")
