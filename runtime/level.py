"""How far to step down for requests without a budget: a level that follows the load without flapping."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Thresholds:
    """When to step down, and when up again; the gap between the two is what keeps the level calm.

    rise_delay: a request that waited longer, in seconds, asks for a sparser sub-net. fall_delay: one that
    waited less allows a denser one, unless utilisation, a ratio, is above fall_utilization. Above
    rise_utilization any wait beyond fall_delay asks for a sparser one. hold: seconds a level lasts at least.
    """

    rise_delay: float = 0.1
    fall_delay: float = 0.02
    rise_utilization: float = 0.98
    fall_utilization: float = 0.9
    hold: float = 0.25


@dataclass(frozen=True)
class LoadLevel:
    """How many sub-nets below the most accurate one to serve; since when, in monotonic seconds."""

    level: int = 0
    since: float = 0.0

    def after(self, now: float, delay: float, utilization: float, *, most: int, at: Thresholds) -> LoadLevel:
        """The level once a request has waited `delay` on a machine that busy; between 0 and `most`."""
        if now < self.since + at.hold and self.since:
            return self
        enough = at.fall_delay if utilization > at.rise_utilization else at.rise_delay
        if delay > enough and self.level < most:
            return replace(self, level=self.level + 1, since=now)
        calm = delay < at.fall_delay and utilization <= at.fall_utilization
        if calm and self.level > 0:
            return replace(self, level=self.level - 1, since=now)
        return self
