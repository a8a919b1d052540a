"""The policy protocol: a pure function of queue view, load and profile that picks sub-net and batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.runtime.profiling.profile import Profile

ALIKE = 1.5
"""Ratio within which budgets count as equal, as part of each is spent before the request is queued. Requests
with a deadline within this many of the head's budgets compete with it for time; later ones do not."""

# Why a sub-net was chosen: accurate - the most accurate one fits; slack, queue - the head's slack or the
# queue behind it allows no better; fastest - nothing fits; pinned, fixed - the client or operator named it.
Reason = Literal["accurate", "slack", "queue", "fastest", "pinned", "fixed"]


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """One queued request as a policy sees it.

    arrival, deadline: monotonic seconds. budgeted: the client set the deadline; otherwise it is the server's
    own time-out, perhaps infinite.
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
    """The queue at one moment in the order of service, head first; never empty.

    now: monotonic seconds. examples: total over all waiting requests.
    executors: how many batches can run at once; one of them is free now.
    """

    now: float
    waiting: Sequence[Waiting]
    examples: int
    executors: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSnapshot:
    """Load at one moment.

    queued, in_flight: requests waiting and executing now.
    cpu_utilization: share of the CPU time this server may use that is used, a ratio in [0, 1], smoothed.
    arrival_rate: examples per second that arrive, refused ones included, averaged over about a second.
    burstiness: squared coefficient of variation of the gaps between arrivals; 1 is a Poisson process.
    gpu_utilization: how busy the busiest GPU is that serves, with our work or that of others, a ratio; 0
    without any.
    level: how many sub-nets below the most accurate one requests without a budget get.
    """

    queued: int = 0
    in_flight: int = 0
    cpu_utilization: float = 0.0
    arrival_rate: float = 0.0
    burstiness: float = 1.0
    gpu_utilization: float = 0.0
    level: int = 0


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
