"""Proteus (Ahmad et al., ASPLOS 2024): its batching, which lets an executor idle for a fuller batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, Policy, QueueView


@dataclass(frozen=True)
class Proteus:
    """What `inner` decides, but only when the head cannot wait any longer for company.

    With b the smallest allowed batch size that holds all that wait, the executor idles until the head's
    deadline less the p99 of b. Proteus assigns sub-nets by solving for a whole cluster; on one machine that
    is a choice by measured rate, which `inner` makes.
    """

    inner: Policy

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:
        """The inner policy's decision."""
        return self.inner.decide(queue, load, profile)

    def wait_until(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> float:
        """When to start at the latest; at once, with as many waiting as the largest batch holds."""
        size = next((size for size in profile.batch_sizes if size >= queue.examples), None)
        if size is None or queue.examples == profile.batch_sizes[-1]:
            return queue.now
        subnet = self.inner.decide(queue, load, profile).subnet
        return queue.waiting[0].deadline - profile[subnet].bound(size)
