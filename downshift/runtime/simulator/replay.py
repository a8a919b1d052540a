"""The result of replaying a trace under a policy: the outcome of every request, and summary figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.simulator.trace import Trace

UNANSWERED = -1


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Figures of merit of a policy: ratios, except goodput. Accuracies are None if unknown.

    attainment: SLO attainment, the share of all requests answered in time.
    served_accuracy: mean accuracy over those answers; None without any.
    effective_accuracy: mean accuracy over all requests, where a request not answered in time counts 0.
    goodput: answers in time per second of the trace.
    worst_second: the minimum of attainment over whole seconds with arrivals.
    """

    policy: str
    attainment: float
    served_accuracy: float | None
    effective_accuracy: float | None
    goodput: float
    worst_second: float


@dataclass(frozen=True, eq=False)
class Replay:
    """The outcome of every request of the trace, and the batches executed.

    answered_by [n]: for each request of the trace, the position in `profile.names` of the sub-net that
    answered it in time, or UNANSWERED: shed, expired or late.
    batches [k, 4]: start in seconds, position of the sub-net, examples, duration in seconds.
    """

    trace: Trace
    profile: Profile
    answered_by: NDArray[np.int16]
    batches: NDArray[np.float64]

    def summary(self, policy: str) -> Summary:
        """The figures, under that policy's name."""
        in_time = self.answered_by != UNANSWERED
        known = all(subnet.accuracy is not None for subnet in self.profile.subnets)
        accuracy = np.array([subnet.accuracy or 0.0 for subnet in self.profile.subnets])
        earned = float(accuracy[self.answered_by[in_time]].sum())
        answers, requests = int(in_time.sum()), len(in_time)
        return Summary(
            policy=policy,
            attainment=answers / requests,
            served_accuracy=earned / answers if known and answers else None,
            effective_accuracy=earned / requests if known else None,
            goodput=answers / self.trace.seconds,
            worst_second=worst_second(self.trace, in_time.astype(float)),
        )


def worst_second(trace: Trace, in_time: NDArray[np.float64]) -> float:
    """The minimum over seconds of the mean of in_time [n], in [0, 1], of requests that arrive within one."""
    _, second = np.unique(np.floor(trace.times), return_inverse=True)  # dense indices: gaps may be huge
    return float((np.bincount(second, weights=in_time) / np.bincount(second)).min())
