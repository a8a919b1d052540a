"""How long answers take on their way back, which the scheduler must leave them before the deadline."""

from __future__ import annotations

LEAST = 1e-4  # seconds; where the estimate begins
UP = 1.1  # what one answer that took longer multiplies the estimate by
PUNCTUAL = 0.98  # share of the answers that the estimate suffices for, once it has settled
DOWN = UP ** -((1.0 - PUNCTUAL) / PUNCTUAL)  # so many down outweigh one up
SHARE = 0.1  # of a budget that is kept for delivery at most


def after(estimate: float, took: float) -> float:
    """The estimate once one more answer took so many seconds: it tends to their `PUNCTUAL` quantile."""
    return estimate * UP if took > estimate else max(LEAST, estimate * DOWN)


class Delivery:
    """Seconds from the end of an answer's computation until its request goes on. The event loop owns it.

    All models of a server share one: what delays an answer is the loop that carries all of them.
    """

    def __init__(self) -> None:
        self.seconds = LEAST

    def took(self, seconds: float) -> None:
        """One more answer was that long on its way."""
        self.seconds = after(self.seconds, seconds)

    def reserve(self, budget: float) -> float:
        """How much of a budget to keep for it, seconds of seconds."""
        return min(self.seconds, SHARE * budget)
