"""Model-Switching (Zhang et al., HotCloud 2020) and Jellyfish: one sub-net for the measured rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from downshift.runtime.simulator.policies.choice import measured_choices, run

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.load import LoadSnapshot
    from downshift.runtime.scheduling.policy import Decision, QueueView
    from downshift.runtime.simulator.policies.choice import Choice

HEADROOM = 1.05  # throughput needed over the arrival rate
LATENCY_SHARE = 0.5  # of the SLO: a request may wait for one batch before its own


@dataclass(frozen=True)
class ModelSwitching:
    """The most accurate sub-net with throughput for the arrival rate and batches within half the SLO.

    choices: per sub-net its batch of the highest throughput, most accurate first.
    """

    choices: tuple[Choice, ...]

    @classmethod
    def build(cls, profile: Profile, slo: float) -> Self:
        """The table for a profile and an SLO in seconds."""
        best: dict[str, Choice] = {}
        for choice in measured_choices(profile):
            fits = choice.bound <= LATENCY_SHARE * slo
            if fits and (choice.subnet not in best or choice.throughput > best[choice.subnet].throughput):
                best[choice.subnet] = choice
        fastest = min(measured_choices(profile), key=lambda choice: choice.bound)
        return cls(tuple(best.values()) or (fastest,))

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:  # noqa: ARG002
        """The first that keeps up with the rate; else the one with the highest throughput."""
        needed = HEADROOM * load.arrival_rate / queue.executors
        for choice in self.choices:
            if choice.throughput >= needed:
                return run(queue, choice.subnet, choice.size, "queue")
        choice = max(self.choices, key=lambda choice: choice.throughput)
        return run(queue, choice.subnet, choice.size, "fastest")
