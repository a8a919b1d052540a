"""What rivals' policies may be besides a `Policy`: learning from batches, or delaying one. Simulator only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from downshift.runtime.scheduling.policy import Policy

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import LoadSnapshot, QueueView


@runtime_checkable
class LearningPolicy(Policy, Protocol):
    """A policy that adapts to batch latencies. A value still: what it has learned is in its fields."""

    def after(self, subnet: str, examples: int, seconds: float) -> Self:
        """The policy to use from now on, a batch of that many examples having taken that long."""
        ...


@runtime_checkable
class WaitingPolicy(Policy, Protocol):
    """A policy that is not work-conserving: it may idle an executor so that its batches become fuller.

    The server's scheduler has no such timer: in the committed sweep `downshift-waiting` has less effective
    accuracy on average than ours without waiting.
    """

    def wait_until(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> float:
        """Until when to wait for more; asked again at every arrival before that. Now means not at all."""
        ...
