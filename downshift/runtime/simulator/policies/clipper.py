"""Clipper+ (Crankshaw et al., NSDI 2017): one sub-net, and an AIMD batch size."""

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
    """A fixed sub-net with AIMD batch sizes: the limit grows by 1 within the SLO, else shrinks by 10 %.

    limit: the present batch size limit, rounded down when used; at most `most`.
    """

    subnet: str
    slo: float
    most: int
    limit: float = 1.0

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:  # noqa: ARG002
        """The fixed sub-net at the present batch size limit."""
        return run(queue, self.subnet, int(self.limit), "fixed")

    def after(self, subnet: str, examples: int, seconds: float) -> Self:
        """Additive increase after a full batch within the SLO, multiplicative decrease after one above it."""
        if subnet != self.subnet:
            return self
        if seconds > self.slo:
            return replace(self, limit=max(1.0, BACK_OFF * self.limit))
        if examples < int(self.limit):
            return self
        return replace(self, limit=min(self.limit + 1.0, float(self.most)))
