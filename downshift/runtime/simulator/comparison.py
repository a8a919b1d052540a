"""Policies side by side: the same trace, profile and budget for each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from downshift.runtime.errors import TraceError
from downshift.runtime.simulator import arrivals, trace_file
from downshift.runtime.simulator.engine import simulate
from downshift.runtime.simulator.oracle import oracle
from downshift.runtime.simulator.policies import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from downshift.runtime.profiling.profile import Profile
    from downshift.runtime.simulator.engine import Scenario
    from downshift.runtime.simulator.replay import Replay, Summary
    from downshift.runtime.simulator.trace import Trace

ORACLE = "oracle"
OURS = "downshift"
ALL = "all"


@dataclass(frozen=True, eq=False)
class PolicyResult:
    """Figures of one policy at one load: the arrival rate over the densest sub-net's capacity.

    replay: None for the clairvoyant bound.
    """

    load: float
    summary: Summary
    replay: Replay | None


def compare(scenario: Scenario, policies: Sequence[str]) -> Iterator[PolicyResult]:
    """One result per named policy, in that order; `oracle` is the clairvoyant bound. Raises `UnknownName`."""
    load = scenario.trace.rate / capacity(scenario.profile, scenario.executors)
    for name in policies:
        if name == ORACLE:
            yield PolicyResult(load, oracle(scenario), None)
        else:
            replay = simulate(scenario, table.build(name, scenario.profile, scenario.slo))
            yield PolicyResult(load, replay.summary(name), replay)


def sweep(
    scenario: Scenario, policies: Sequence[str], loads: Sequence[float] | None = None
) -> list[PolicyResult]:
    """The comparison at each load, by scaling the trace's time axis; without loads, of the trace as it is."""
    unit = capacity(scenario.profile, scenario.executors)
    trace = scenario.trace
    traces = [trace] if loads is None else [trace.at_rate(load * unit) for load in loads]
    return [result for scaled in traces for result in compare(replace(scenario, trace=scaled), policies)]


def loads(text: str | None) -> tuple[float, ...] | None:
    """The loads in a comma-separated text such as `0.5,1,2`; raises `TraceError`."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0.0 < value < math.inf for value in values):
        raise TraceError(f"loads {text!r}: give numbers above 0 with commas between, such as 0.5,1,2")
    return values


def policy_names(text: str, profile: Profile) -> tuple[str, ...]:
    """The policies in a comma-separated text such as `downshift,fixed:s90` or `all`; raises `UnknownName`."""
    if text == ALL:
        return (*table.names(profile), ORACLE)
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name != ORACLE:
            table.check(name, profile)
    return names


def capacity(profile: Profile, executors: int = 1) -> float:
    """Peak throughput of the most accurate sub-net at its best batch size, in examples per second."""
    densest = profile.subnets[0]
    return executors * max(size / densest.p50[size] for size in profile.batch_sizes)


def trace(text: str) -> Trace:
    """The trace in the file at that path or, if there is no such file, the process the text describes."""
    path = Path(text)
    return trace_file.read(path) if path.exists() else arrivals.parse(text)
