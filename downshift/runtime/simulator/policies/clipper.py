"""Clipper+ (Crankshaw et al., NSDI 2017): one sub-net, and a batch size found by trying."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from downshift.runtime.simulator.policies.choice import run

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, QueueView

BACK_OFF = 0.9


@dataclass(frozen=True)
class Clipper:
    """A fixed sub-net; its largest batch grows by one while batches meet the SLO, else shrinks by a tenth.

    limit: the largest batch now, a number that is rounded down; it never exceeds `most`.
    """

    subnet: str
    slo: float
    most: int
    limit: float = 1.0

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:  # noqa: ARG002
        """The fixed sub-net on as many as the limit allows."""
        return run(queue, self.subnet, int(self.limit), "fixed")

    def after(self, subnet: str, examples: int, seconds: float) -> Self:
        """Additive increase after a full batch in time, multiplicative decrease after too long a one."""
        if subnet != self.subnet:
            return self
        if seconds > self.slo:
            return replace(self, limit=max(1.0, BACK_OFF * self.limit))
        if examples < int(self.limit):
            return self
        return replace(self, limit=min(self.limit + 1.0, float(self.most)))
