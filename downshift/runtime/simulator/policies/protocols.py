"""Extensions of `Policy` that only baselines need: online learning, and delayed batches. Simulator only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from downshift.runtime.scheduling.policy import Policy

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import LoadSnapshot, QueueView


@runtime_checkable
class LearningPolicy(Policy, Protocol):
    """A policy that learns online from batch latencies; immutable, `after` returns the next one."""

    def after(self, subnet: str, examples: int, seconds: float) -> Self:
        """The policy after observing a batch of that many examples and seconds."""
        ...


@runtime_checkable
class WaitingPolicy(Policy, Protocol):
    """A policy that is not work-conserving: it may idle an executor to fill the next batch.

    The server's scheduler has no batching timer: in the committed sweep `downshift-waiting` has a lower mean
    effective accuracy than the work-conserving `downshift`.
    """

    def wait_until(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> float:
        """When to start the next batch, re-evaluated at every arrival; `queue.now` means at once."""
        ...
