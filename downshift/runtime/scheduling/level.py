"""How far to step down for requests without a budget: a level that follows the load without flapping."""

from __future__ import annotations

from dataclasses import dataclass


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


TRIAL = 2.0  # seconds that a denser sub-net must hold at least, for its try not to have been in vain
LONGEST = 8.0  # seconds of patience at most


@dataclass(frozen=True)
class LoadLevel:
    """How many sub-nets below the most accurate one to serve; since when, in monotonic seconds.

    patience: seconds until a denser sub-net is tried. Under a load that lies between two sub-nets every try
    is undone soon: each time the next takes twice as long, and half as long once one has held. trying: the
    last step was such a try.
    """

    level: int = 0
    since: float = 0.0
    patience: float = 0.0
    trying: bool = False

    def after(self, now: float, delay: float, utilization: float, *, most: int, at: Thresholds) -> LoadLevel:
        """The level once a request has waited `delay` on a machine that busy; between 0 and `most`."""
        if now < self.since + at.hold and self.since:
            return self
        enough = at.fall_delay if utilization > at.rise_utilization else at.rise_delay
        if delay > enough and self.level < most:
            return LoadLevel(self.level + 1, now, self._patience_after_load(now, at.hold))
        calm = delay < at.fall_delay and utilization <= at.fall_utilization
        if calm and self.level > 0 and now >= self.since + self.patience:
            patience = self.patience / 2 if self.trying else self.patience
            return LoadLevel(self.level - 1, now, patience, trying=True)
        return self

    def _patience_after_load(self, now: float, hold: float) -> float:
        """What to wait now that a sparser sub-net is needed again."""
        if not self.trying:
            return self.patience
        in_vain = now < self.since + max(TRIAL, self.patience)
        return min(LONGEST, 2.0 * max(hold, self.patience)) if in_vain else 0.0
