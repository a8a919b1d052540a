"""The result of replaying a trace under a policy: what became of every request, and summary figures."""

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
    """The figures by which policies are compared; ratios but for goodput. Accuracies are None if unknown.

    attainment: share of all requests that were answered in time.
    served_accuracy: mean accuracy of the sub-nets that gave those answers; None without any.
    effective_accuracy: the same sum over all requests: a request not answered in time counts as wrong.
    goodput: answers in time per second of the trace.
    worst_second: the least attainment among the requests of any whole second with arrivals.
    """

    policy: str
    attainment: float
    served_accuracy: float | None
    effective_accuracy: float | None
    goodput: float
    worst_second: float


@dataclass(frozen=True, eq=False)
class Replay:
    """How every request of the trace ended, and the batches that were run.

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
    """The least mean of in_time [n], each in [0, 1], over the requests that arrive in the same second."""
    _, second = np.unique(np.floor(trace.times), return_inverse=True)  # gaps may be huge
    return float((np.bincount(second, weights=in_time) / np.bincount(second)).min())
