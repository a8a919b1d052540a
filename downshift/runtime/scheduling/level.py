"""How far to downshift requests without a budget: a level with hysteresis and exponential backoff.

Queue delay decides. CPU utilisation comes second: it makes a step down come sooner and a step up later, and
never keeps the level from rising or falling, since a machine may be busy with what does not delay our
requests. A busy GPU raises the level by itself: it does not interrupt others' kernels for ours.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Hysteresis: the level rises (a sparser sub-net) at a longer wait than the one below which it falls.

    rise_delay: seconds a request must have waited to ask for a sparser sub-net. fall_delay: one that waited
    less allows a denser one. rise_utilization: a ratio above which `fall_delay` is enough to rise.
    fall_utilization: a ratio above which a fall needs `BUSY_WAIT` seconds at the present level.
    rise_gpu, fall_gpu: ratios of time in which the GPU is busy; above the one the level rises, whatever the
    wait, and it falls below the other only.
    hold: seconds a level lasts at least.
    """

    rise_delay: float = 0.1
    fall_delay: float = 0.02
    rise_utilization: float = 0.98
    fall_utilization: float = 0.9
    rise_gpu: float = 0.9
    fall_gpu: float = 0.7
    hold: float = 0.25


TRIAL = 2.0  # seconds a denser sub-net must last at least for its trial to have succeeded
LONGEST_BACKOFF = 8.0  # seconds
BUSY_WAIT = 1.0  # seconds at a level before a denser sub-net is tried at high utilisation


@dataclass(frozen=True, kw_only=True)
class LoadLevel:
    """How many sub-nets below the most accurate one to serve; since when, in monotonic seconds.

    Exponential backoff: every trial of a denser sub-net that load undoes doubles the wait before the next, up
    to `LONGEST_BACKOFF`; every one that succeeds halves it. backoff: that wait, in seconds. on_trial: the
    last step was such a trial.
    """

    level: int = 0
    since: float = 0.0
    backoff: float = 0.0
    on_trial: bool = False

    def after(  # noqa: PLR0913 - all that load is
        self,
        now: float,
        delay: float,
        utilization: float,
        *,
        gpu: float = 0.0,
        most: int,
        at: Thresholds,
    ) -> LoadLevel:
        """The level once a request has waited `delay` seconds at that utilisation; between 0 and `most`.

        gpu: how busy the GPU is that serves, a ratio.
        """
        if now < self.since + at.hold and self.since:
            return self
        rise_delay = at.fall_delay if utilization > at.rise_utilization else at.rise_delay
        if (delay > rise_delay or gpu > at.rise_gpu) and self.level < most:
            return LoadLevel(level=self.level + 1, since=now, backoff=self._backoff_after_load(now, at.hold))
        wait = max(self.backoff, BUSY_WAIT) if utilization > at.fall_utilization else self.backoff
        idle = delay < at.fall_delay and gpu < at.fall_gpu
        if idle and self.level > 0 and now >= self.since + wait:
            backoff = self.backoff / 2 if self.on_trial else self.backoff
            return LoadLevel(level=self.level - 1, since=now, backoff=backoff, on_trial=True)
        return self

    def _backoff_after_load(self, now: float, hold: float) -> float:
        """The wait before the next trial, now that a sparser sub-net is needed."""
        if not self.on_trial:
            return self.backoff
        failed = now < self.since + max(TRIAL, self.backoff)
        return min(LONGEST_BACKOFF, 2.0 * max(hold, self.backoff)) if failed else 0.0
