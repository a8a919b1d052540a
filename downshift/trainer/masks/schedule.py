"""What happens when: sparsity ramps, learning rates and mask updates as pure functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from downshift.trainer.recipe import Recipe


@dataclass(frozen=True)
class Ramp:
    """Cubic sparsity ramp from `initial` at step `start` to `final` at step `end` (Zhu & Gupta, 2017)."""

    start: int
    end: int
    initial: float
    final: float

    def progress(self, step: int) -> float:
        """Position on the ramp, 0 before `start`, 1 from `end` on, cubic between."""
        if step >= self.end:
            return 1.0
        linear = max(0, step - self.start) / max(1, self.end - self.start)
        return 1.0 - (1.0 - linear) ** 3

    def sparsity(self, step: int) -> float:
        """Sparsity at `step`; never falls as steps go on."""
        return self.initial + (self.final - self.initial) * self.progress(step)


@dataclass(frozen=True)
class Updates:
    """When masks are updated: sub-net i is due every `interval` steps, `offset` steps after sub-net i - 1.

    An alternating run updates a sub-net only while it trains, so the update falls on the first of its own
    steps that is not before the due step; the due steps themselves never drift. The last update is due at
    `stop`.
    """

    interval: int
    offset: int
    stop: int

    def due(self, step: int, index: int, period: int) -> bool:
        """Whether sub-net `index`, trained every `period` steps, updates its mask at `step`."""
        own = step - self.offset * index
        if own >= self.stop:
            return own - self.stop < period
        return own >= self.interval and own % self.interval < period


def cosine_fraction(step: int, stop: int, initial: float) -> float:
    """`initial` at step 0, falling by a half cosine to 0 at `stop`: the share of weights regrown."""
    return 0.5 * initial * (1.0 + math.cos(math.pi * min(1.0, step / max(1, stop))))


class Rate(Protocol):
    """The learning rate of every step of a run."""

    def at(self, step: int) -> float:
        """Learning rate of `step`."""


@dataclass(frozen=True)
class InTurn:
    """`first` for `steps` steps, then `second` from its own step 0 on."""

    first: Rate
    steps: int
    second: Rate

    def at(self, step: int) -> float:
        """Learning rate of `step`."""
        return self.first.at(step) if step < self.steps else self.second.at(step - self.steps)


@dataclass(frozen=True)
class LearningRate:
    """Linear warm-up over `warmup` steps, then a half cosine to zero, or x `factor` at each milestone."""

    base: float
    steps: int
    warmup: int
    milestones: tuple[int, ...] = ()
    factor: float = 0.1

    @classmethod
    def of(cls, recipe: Recipe, steps: int) -> LearningRate:
        """The schedule of a run of `steps` optimizer steps."""
        choice = recipe.optimizer
        milestones = tuple(round(part * steps) for part in choice.milestones)
        return cls(choice.lr, steps, round(choice.warmup * steps), milestones)

    def at(self, step: int) -> float:
        """Learning rate of `step`, 0 <= step < steps."""
        if step < self.warmup:
            return self.base * (step + 1) / self.warmup
        if self.milestones:
            return self.base * self.factor ** sum(step >= milestone for milestone in self.milestones)
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.5 * self.base * (1.0 + math.cos(math.pi * progress))
