"""Proteus (Ahmad et al., ASPLOS 2024): non-work-conserving batching that delays a batch to fill it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, Policy, QueueView


@dataclass(frozen=True)
class Proteus:
    """The decision of `inner`, delayed until the head's slack is used up.

    With b the smallest measured batch size that holds the queue, the executor idles until the head's deadline
    minus the p99 of b. Proteus assigns sub-nets by a linear program for a cluster; on one machine that is a
    choice by arrival rate, made by `inner`.
    """

    inner: Policy

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:
        """The inner policy's decision."""
        return self.inner.decide(queue, load, profile)

    def wait_until(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> float:
        """The latest start that meets the head's deadline; now, if the queue fills the largest batch."""
        size = next((size for size in profile.batch_sizes if size >= queue.examples), None)
        if size is None or queue.examples == profile.batch_sizes[-1]:
            return queue.now
        subnet = self.inner.decide(queue, load, profile).subnet
        return queue.waiting[0].deadline - profile[subnet].bound(size)
