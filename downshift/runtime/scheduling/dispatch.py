"""Which requests may wait, which are given up, which run together: the decisions, without threads or futures.

The real scheduler's core and the simulator both stand on this, so that what one shows holds for the other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from downshift.runtime.errors import DeadlineImpossible, Overloaded, QueueFull
from downshift.runtime.scheduling.correction import Correction
from downshift.runtime.scheduling.level import LoadLevel, Thresholds
from downshift.runtime.scheduling.policy import ALIKE, LearningPolicy, Waiting
from downshift.runtime.scheduling.queue import EdfQueue
from downshift.runtime.scheduling.rate import ArrivalRate

if TYPE_CHECKING:
    from downshift.runtime.errors import Rejected
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.load import LoadSnapshot
    from downshift.runtime.scheduling.policy import Decision, Policy

FAIR = 0.5  # share of its budget that a request must be ready to spend on a batch it is part of
W = TypeVar("W", bound=Waiting)


class Dispatch(Generic[W]):
    """One queue before one or more equal executors. Not thread-safe: its owner locks.

    profile: as measured, corrected by what recent batches really took.
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
        self._learner = policy if isinstance(policy, LearningPolicy) else None
        self._measured = profile
        self._correction = Correction()
        self._level = LoadLevel()
        self._thresholds = thresholds
        self._by_factor = {1.0: profile}
        self._capacity = capacity
        self._executors = executors

    @property
    def slowdown(self) -> float:
        """How many times as long as measured the profile that decisions rest on says everything takes."""
        return self.profile.floor / self._measured.floor

    def adopt(self, profile: Profile) -> None:
        """Decide by another profile from now on; what recent batches said about the old one is forgotten."""
        self.profile = self._measured = profile
        self._by_factor, self._correction = {1.0: profile}, Correction()

    def admit(self, item: W, now: float, free_at: float) -> Rejected | None:
        """Queue the item; or say, and change nothing, why it could not be answered in time.

        free_at: when the next executor should be free; any time before now means at once.
        """
        self.arrivals.seen(now, item.examples)
        if self.profile is not self._measured and self._correction.stale(now):
            self.profile = self._measured  # else a machine thought too slow for anyone would never be tried
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
        """Take the items whose deadline nothing can meet any more from the head of the queue.

        Where requests arrive faster than they could be answered one by one, as their rate or the queue
        tells, those go as well whose slack is too short for a batch of the size that this takes: serving
        each of them alone, at the cost of a whole batch, would leave everyone behind them with as little
        slack, for as long as the load lasts (Nexus, Shen et al., SOSP 2019, drops early for the same
        reason).
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
        """The policy's decision for the queue, which must not be empty, and the items to run together.

        These are the head and, in order, others the sub-net may answer, up to the decision's batch size;
        they have left the queue.
        """
        queue = self.queue
        if not queue.head.budgeted:
            load = self._with_level(now, load)
        decision = self.policy.decide(queue.view(now, self._executors), load, self.profile)
        return decision, queue.claim(decision.subnet, decision.batch_size)

    def ran(self, subnet: str, examples: int, seconds: float, now: float) -> None:
        """A batch has been run until now and took that long: what learns from it, learns."""
        correction = self._correction.after(now, seconds / self._measured[subnet].typical(examples))
        self._correction, factor = correction, correction.factor
        self.profile = self._by_factor.get(factor) or self._corrected(factor)
        if self._learner is not None:
            self._learner = self.policy = self._learner.after(subnet, examples, seconds)

    def _batch_for_the_rate(self, now: float) -> int:
        """The smallest batch size that keeps up with the arrivals, or nearly as well as any."""
        enough = self.profile.enough
        if enough == 1:
            return 1
        head = self.queue.head
        budget = head.deadline - head.arrival
        pressing = self.queue.examples_before(now + ALIKE * budget, head.priority) / budget
        rate = max(pressing, self.arrivals.at(now))  # which is slow to learn of a sudden load
        return min(enough, self.profile.batch_for(rate / self._executors))

    def _with_level(self, now: float, load: LoadSnapshot) -> LoadSnapshot:
        delay, most = now - self.queue.head.arrival, len(self.profile.names) - 1
        busy = max(load.cpu_utilization, load.gpu_utilization)
        self._level = self._level.after(now, delay, busy, most=most, at=self._thresholds)
        return replace(load, level=self._level.level)

    def _corrected(self, factor: float) -> Profile:
        """The measured profile scaled by a factor that it has not been scaled by yet."""
        profile = self._by_factor[factor] = self._measured.scaled(factor)
        return profile
