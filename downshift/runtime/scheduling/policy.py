"""The seam between the queue and the choice of a sub-net: a policy is a pure function of frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.load import LoadSnapshot

ALIKE = 1.5
"""Requests due within so many times the head's budget count as like it. Part of a budget has passed before a
request is queued, and not the same part of each; those that have much longer do not hurry the head."""

# why a sub-net was chosen: the best there is; the head's slack, or the rest of the queue, allowed no better;
# nothing fits, so the fastest; the client or the operator named it
Reason = Literal["accurate", "slack", "queue", "fastest", "pinned", "fixed"]


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """One queued request as a policy sees it.

    arrival, deadline: monotonic seconds. budgeted: the client granted that time; otherwise the deadline is
    only when the server gives up, perhaps never, and no reason to hurry.
    examples: how many inputs it holds.
    candidates: names of the sub-nets that may answer it, most accurate first, never empty.
    """

    arrival: float
    deadline: float
    examples: int
    candidates: tuple[str, ...]
    priority: int = 0
    budgeted: bool = True

    @property
    def pinned(self) -> bool:
        """Exactly one sub-net may answer."""
        return len(self.candidates) == 1


@dataclass(frozen=True, slots=True)
class QueueView:
    """The queue at one moment, in the order of service: the head comes first, and there is one.

    now: monotonic seconds. examples: total over all waiting requests.
    executors: how many batches can run at once; one of them is free now.
    """

    now: float
    waiting: Sequence[Waiting]
    examples: int
    executors: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """Run the head with `subnet`, together with compatible others up to `batch_size` examples in all."""

    subnet: str
    batch_size: int
    reason: Reason


class Policy(Protocol):
    """Decides what the free executor does next.

    Stateless: the same view, load and profile always give the same decision, so that the simulator and
    the real scheduler agree. Called under the queue's lock: a few microseconds, no I/O.
    """

    def decide(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> Decision:
        """The sub-net, one of the head's candidates, and the largest batch to run it with."""
        ...


@runtime_checkable
class LearningPolicy(Policy, Protocol):
    """A policy that changes with experience. It is a value still: what it has learned is in its fields."""

    def after(self, subnet: str, examples: int, seconds: float) -> Self:
        """The policy to use from now on, a batch of that many examples having taken that long."""
        ...


@runtime_checkable
class WaitingPolicy(Policy, Protocol):
    """A policy that may let an executor idle although requests wait, so that its batches become fuller.

    The simulator honours it, to show what it is worth. The server's scheduler has no such timer: in the
    committed sweep `downshift-waiting` has less effective accuracy on average than ours without waiting.
    """

    def wait_until(self, queue: QueueView, load: LoadSnapshot, profile: Profile) -> float:
        """Until when to wait for more; asked again at every arrival before that. Now means not at all."""
        ...
