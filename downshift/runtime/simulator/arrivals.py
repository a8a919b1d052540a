"""Synthetic arrival processes (Poisson, Gamma renewal, constant, stepped), parsed from a short text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from downshift.runtime.errors import TraceError
from downshift.runtime.simulator.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

MOST = 50_000_000  # arrivals in one trace: 400 MB of times
MOST_BURSTY = 10_000.0  # cv2: above it nearly all gaps are zero, so reaching the end takes unbounded draws


@dataclass(frozen=True)
class Arrivals:
    """A renewal process with Gamma-distributed gaps, `rate` arrivals per second for `seconds`.

    cv2: squared coefficient of variation of the gaps: 0 is constant, 1 Poisson, above 1 bursty. steps:
    factors of the rate, piecewise constant over equal intervals.
    """

    rate: float
    seconds: float
    cv2: float = 1.0
    seed: int = 0
    steps: tuple[float, ...] = (1.0,)

    def times(self) -> NDArray[np.float64]:
        """Arrival times in seconds, ascending, possibly none; deterministic in the fields."""
        rng = np.random.default_rng(self.seed)
        # Time change: a unit-rate process, mapped through the inverse of the cumulative rate.
        edges = np.linspace(0.0, self.seconds, len(self.steps) + 1)
        mass = np.concatenate(([0.0], np.cumsum(np.asarray(self.steps) * self.rate * np.diff(edges))))
        return np.interp(_unit_times(rng, mass[-1], self.cv2), mass, edges)


def _unit_times(rng: np.random.Generator, until: float, cv2: float) -> NDArray[np.float64]:
    """Arrival times in (0, until] of a renewal process of rate 1."""
    if cv2 == 0.0:
        return np.arange(1.0, np.floor(until) + 1.0)
    parts, last = [], 0.0
    while last <= until:
        gaps = rng.gamma(1.0 / cv2, cv2, size=int(until - last) + 64)
        parts.append(last + np.cumsum(gaps))
        last = float(parts[-1][-1])
    times = np.concatenate(parts)
    return times[times <= until]


def parse(text: str) -> Trace:
    """The trace described by a text such as `gamma:rate=300,cv2=4,seconds=20,seed=1`.

    Kinds: `gamma`; `poisson` (cv2=1); `constant` (cv2=0); `steps`, with `rates=100/800/100` instead of rate
    and an optional cv2. Raises `TraceError`.
    """
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        raise TraceError(f"trace {text!r}: neither a file nor one of {', '.join(sorted(KINDS))}")
    needed, optional = KINDS[kind]
    given = _pairs(text, rest)
    allowed = (*needed, *optional)
    if unknown := [key for key in given if key not in allowed]:
        raise TraceError(f"trace {text!r}: {kind} has no {unknown[0]!r}; it takes {', '.join(allowed)}")
    if missing := [key for key in needed if key not in given]:
        raise TraceError(f"trace {text!r}: {missing[0]} is missing, as in {missing[0]}=1")
    arrivals = _arrivals(text, kind, given)
    expected = arrivals.rate * arrivals.seconds * float(np.mean(arrivals.steps))
    if expected > MOST:
        raise TraceError(f"trace {text!r}: {expected:.3g} arrivals; at most {MOST:,} fit in memory")
    return Trace(text, arrivals.times(), arrivals.seconds)


KINDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "gamma": (("rate", "cv2", "seconds"), ("seed",)),
    "poisson": (("rate", "seconds"), ("seed",)),
    "constant": (("rate", "seconds"), ()),
    "steps": (("rates", "seconds"), ("cv2", "seed")),
}
"""Required and optional keys of each kind."""


def _pairs(text: str, rest: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in rest.split(",") if part]
    if bad := [key for key, equals, value in pairs if not (equals and value)]:
        raise TraceError(f"trace {text!r}: {bad[0]!r} has no value; write {bad[0]}=NUMBER")
    keys = [key.strip() for key, _, _ in pairs]
    if repeated := [key for key in keys if keys.count(key) > 1]:
        raise TraceError(
            f"trace {text!r}: {repeated[0]} is given {keys.count(repeated[0])} times; give it once"
        )
    return {key: value.strip() for key, (_, _, value) in zip(keys, pairs, strict=True)}


def _arrivals(text: str, kind: str, given: Mapping[str, str]) -> Arrivals:
    seed = _number(text, "seed", given.get("seed", "0"), lambda value: value >= 0 and value == int(value))
    cv2 = {"constant": "0"}.get(kind, given.get("cv2", "1"))
    steps = [_number(text, "rates", part, _positive) for part in given.get("rates", "1").split("/")]
    return Arrivals(
        rate=_number(text, "rate", given.get("rate", "1"), _positive),
        seconds=_number(text, "seconds", given["seconds"], _positive),
        cv2=_number(text, "cv2", cv2, lambda value: 0 <= value <= MOST_BURSTY),
        seed=int(seed),
        steps=tuple(steps),
    )


def _positive(value: float) -> bool:
    return value > 0


def _number(text: str, key: str, value: str, allowed: Callable[[float], bool]) -> float:
    try:
        number = float(value)
    except ValueError:
        number = np.nan
    if not np.isfinite(number) or not allowed(number):
        raise TraceError(f"trace {text!r}: {key}={value} is out of range; give a suitable number")
    return number
