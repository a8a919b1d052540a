"""Admission control, early drop and batch formation: the scheduling decisions, without threads or futures.

The scheduler's core and the simulator share this code, so that simulated results hold for the server.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from downshift.runtime.errors import DeadlineImpossible, Overloaded, QueueFull
from downshift.runtime.scheduling.estimators import ArrivalRate, LatencyCorrection
from downshift.runtime.scheduling.level import LoadLevel, Thresholds
from downshift.runtime.scheduling.policy import ALIKE, Waiting
from downshift.runtime.scheduling.queue import EdfQueue

if TYPE_CHECKING:
    from downshift.runtime.errors import Rejected
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import Decision, LoadSnapshot, Policy

FAIR = 0.5  # share of its budget that a request must allow for the batch it is part of
W = TypeVar("W", bound=Waiting)


class Dispatch(Generic[W]):
    """One queue in front of one or more equal executors. Not thread-safe: its owner locks.

    profile: as measured, times the latency correction. policy: may be replaced between decisions.
    """

    def __init__(
        self,
        profile: Profile,
        policy: Policy,
        *,
        capacity: int,
        executors: int = 1,
        thresholds: Thresholds = Thresholds(),  # noqa: B008 - frozen
    ) -> None:
        self.profile = profile
        self.policy = policy
        self.queue: EdfQueue[W] = EdfQueue()
        self.arrivals = ArrivalRate()
        self._measured = profile
        self._correction = LatencyCorrection()
        self._level = LoadLevel()
        self._thresholds = thresholds
        self._by_factor = {1.0: profile}
        self._capacity = capacity
        self._executors = executors

    @property
    def slowdown(self) -> float:
        """The latency correction in use: the present profile's latencies over the measured ones."""
        return self.profile.floor / self._measured.floor

    def adopt(self, profile: Profile) -> None:
        """Use another profile from now on; the latency correction starts anew."""
        self.profile = self._measured = profile
        self._by_factor, self._correction = {1.0: profile}, LatencyCorrection()

    def admit(self, item: W, now: float, free_at: float) -> Rejected | None:
        """Admission control: queue the item, or return why it could not meet its deadline and change nothing.

        free_at: when the next executor should be free; any time before now means at once.
        """
        self.arrivals.seen(now, item.examples)
        if self.profile is not self._measured and self._correction.stale(now):
            self.profile = (
                self._measured
            )  # else a machine judged too slow for all would never run a batch again
        queue, executors = self.queue, self._executors
        budget = item.deadline - now
        needed = self.profile.soonest_bound(item.candidates, item.examples)
        if needed > budget:
            return DeadlineImpossible(budget, needed)
        busy, floor = max(0.0, free_at - now), self.profile.floor / executors
        if len(queue) >= self._capacity:
            return QueueFull(self._capacity, busy + queue.examples * floor)
        wait = busy + queue.examples_before(item.deadline, item.priority) * floor
        if wait + needed > budget:
            return Overloaded(budget, wait)
        queue.push(item)
        return None

    def give_up(self, now: float) -> list[W]:
        """Early drop: remove the items at the head whose deadline no sub-net can meet any more.

        Under a load that needs batches (by the arrival rate or the queue), items whose slack is too short for
        a batch of the needed size are dropped, too: serving each alone would cost as much as a batch and
        leave the next head with as little slack, for as long as the load lasts. Early drop after Nexus
        (Shen et al., SOSP 2019).
        """
        queue, profile, hopeless = self.queue, self.profile, []
        together, judged = 0, 0.0  # the batch size for requests of about that budget, before any went
        while queue:
            head = queue.head
            left = head.deadline - now
            if profile.soonest(head.candidates, head.examples) <= left:
                budget = head.deadline - head.arrival
                if not judged / ALIKE <= budget <= judged * ALIKE:
                    together, judged = self._batch_for_the_rate(now), budget
                if together == 1 or queue.examples <= together:
                    break
                needed = profile.soonest(head.candidates, together)
                if not left < needed <= FAIR * budget:
                    break
            queue.remove(head)
            hopeless.append(head)
        return hopeless

    def take(self, now: float, load: LoadSnapshot) -> tuple[Decision, list[W]]:
        """The policy's decision for the queue, which must not be empty, and the batch it removed.

        The batch is the head and, in order, others that the sub-net may answer, up to the decision's size.
        """
        queue = self.queue
        if not queue.head.budgeted:
            load = self._with_level(now, load)
        decision = self.policy.decide(queue.view(now, self._executors), load, self.profile)
        return decision, queue.claim(decision.subnet, decision.batch_size)

    def ran(self, subnet: str, examples: int, seconds: float, now: float) -> None:
        """Update the latency correction: a batch has ended now and took that long."""
        correction = self._correction.after(now, seconds / self._measured[subnet].typical(examples))
        self._correction, factor = correction, correction.factor
        self.profile = self._by_factor.get(factor) or self._corrected(factor)

    def _batch_for_the_rate(self, now: float) -> int:
        """The smallest batch size whose throughput covers the arrivals, or nearly the best there is."""
        enough = self.profile.enough
        if enough == 1:
            return 1
        head = self.queue.head
        budget = head.deadline - head.arrival
        pressing = self.queue.examples_before(now + ALIKE * budget, head.priority) / budget
        rate = max(pressing, self.arrivals.at(now))  # the averaged rate lags behind a burst
        return min(enough, self.profile.batch_for(rate / self._executors))

    def _with_level(self, now: float, load: LoadSnapshot) -> LoadSnapshot:
        delay, most = now - self.queue.head.arrival, len(self.profile.choices) - 1
        self._level = self._level.after(
            now, delay, load.cpu_utilization, gpu=load.gpu_utilization, most=most, at=self._thresholds
        )
        return replace(load, level=self._level.level)

    def _corrected(self, factor: float) -> Profile:
        """The measured profile scaled by that factor, kept for the next time."""
        profile = self._by_factor[factor] = self._measured.scaled(factor)
        return profile
