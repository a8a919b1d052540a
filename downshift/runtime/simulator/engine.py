"""Discrete-event simulation of a trace with the server's own queue, admission control and policy."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from heapq import heapreplace
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.scheduling.dispatch import Dispatch
from downshift.runtime.scheduling.policy import LoadSnapshot, Waiting
from downshift.runtime.simulator.policies.protocols import LearningPolicy, WaitingPolicy
from downshift.runtime.simulator.replay import UNANSWERED, Replay
from downshift.runtime.simulator.service import Recorded, ServiceTimes

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.scheduling.policy import Policy
    from downshift.runtime.simulator.trace import Trace


@dataclass(frozen=True)
class Scenario:
    """Workload and machine of a simulation; the policy is the only other input.

    slo: latency budget of every request, seconds. executors: batches that run in parallel.
    capacity: queue limit, requests per executor. seed: of the random service times. subnet: pinned by every
    request. handover: seconds of overhead of an executor between two batches.
    reserve: seconds of the budget reserved for delivery: scheduling decisions use a deadline earlier by this
    much, the verdict in time or late does not. recorded: service times measured on a machine, instead of
    random ones. delivery: for every request of the trace, seconds from the end of its batch to its client;
    empty for none.
    """

    trace: Trace
    profile: Profile
    _: KW_ONLY
    slo: float
    executors: int = 1
    capacity: int = 1024
    seed: int = 0
    subnet: str | None = None
    handover: float = 0.0
    reserve: float = 0.0
    recorded: Recorded | None = None
    delivery: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Arrival(Waiting):
    """A simulated request: number `index` of the trace."""

    index: int = 0


def simulate(scenario: Scenario, policy: Policy) -> Replay:  # noqa: PLR0915 - one event loop
    """The replay of the trace under that policy; deterministic in scenario and policy.

    An event is the completion of a batch; arrivals up to it pass admission control before the next decision.
    Service times come from `ServiceTimes`.
    """
    trace, profile = scenario.trace, scenario.profile
    dispatch: Dispatch[Arrival] = Dispatch(
        profile, policy, capacity=scenario.capacity * scenario.executors, executors=scenario.executors
    )
    queue, admit, give_up, arrivals = dispatch.queue, dispatch.admit, dispatch.give_up, dispatch.arrivals
    candidates = profile.choices if scenario.subnet is None else (profile[scenario.subnet].name,)
    index_of = {name: index for index, name in enumerate(profile.names)}
    durations = ServiceTimes(profile, scenario.seed) if scenario.recorded is None else scenario.recorded
    seconds_of, handover, reserve, delivery = (
        durations.seconds,
        scenario.handover,
        scenario.reserve,
        scenario.delivery,
    )
    times, slo, upcoming, now = [*trace.times.tolist(), math.inf], scenario.slo - reserve, 0, -math.inf
    waits = policy.wait_until if isinstance(policy, WaitingPolicy) else None
    learner = policy if isinstance(policy, LearningPolicy) else None
    count, alone, busy = len(trace.times), scenario.executors == 1, 0
    answered_by = [UNANSWERED] * count
    batches: list[tuple[float, int, int, float]] = []  # start, sub-net, examples, seconds
    # Event heap, one entry per executor: (free at, executor, expected free at, sub-net, examples, seconds)
    executors = [(-math.inf, who, -math.inf, "", 0, 0.0) for who in range(scenario.executors)]
    while True:
        free_at, who, expected, subnet, examples, seconds = executors[0]
        now = max(now, free_at)
        while times[upcoming] <= now:
            arrival = times[upcoming]
            admit(Arrival(arrival, arrival + slo, 1, candidates, 0, True, upcoming), arrival, expected)
            upcoming += 1
        if examples:
            busy -= 1
            dispatch.ran(subnet, examples, seconds, now)
            if learner is not None:
                learner = dispatch.policy = learner.after(subnet, examples, seconds)
        give_up(now)
        while not queue and upcoming < count:  # idle: advance the clock to the next admitted arrival
            now = times[upcoming]
            admit(Arrival(now, now + slo, 1, candidates, 0, True, upcoming), now, expected)
            upcoming += 1
        if not queue:
            break
        load = LoadSnapshot(
            queued=len(queue), in_flight=busy, arrival_rate=arrivals.at(now), burstiness=arrivals.burstiness
        )
        if waits is not None:
            until = waits(queue.view(now, scenario.executors), load, dispatch.profile)
            if until > now:
                heapreplace(executors, (min(until, times[upcoming]), who, now, "", 0, 0.0))
                continue
        decision, claimed = dispatch.take(now, load)
        subnet, examples = decision.subnet, len(claimed)
        seconds, index = seconds_of(subnet, examples, now), index_of[subnet]
        end = now + seconds
        for item in claimed:
            if (end + delivery[item.index] if delivery else end) <= item.deadline + reserve:
                answered_by[item.index] = index
        busy += 1
        batches.append((now, index, examples, seconds))
        expected = now + dispatch.profile[subnet].typical(examples)
        if alone:
            executors[0] = (end + handover, who, expected, subnet, examples, seconds)
        else:
            heapreplace(executors, (end + handover, who, expected, subnet, examples, seconds))
    return Replay(trace, profile, np.array(answered_by, np.int16), np.array(batches).reshape(-1, 4))
