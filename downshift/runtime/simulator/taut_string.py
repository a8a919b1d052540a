"""The taut-string algorithm: the shortest path between a lower and an upper bound."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Point = tuple[int, float]


def taut_string(start: float, lower: Sequence[float], upper: Sequence[float]) -> list[float]:
    """Values [n] of the shortest path from (0, start) with lower[j] <= value[j] <= upper[j], j = 0 at x = 1.

    Its last bounds must be equal: the end. Among all such paths it minimises the sum of every convex
    function of the increments (Davies and Kovac 2001 give the linear-time method).
    """
    knots: list[Point] = [(0, start)]
    below: list[Point] = [(0, start)]  # least concave majorant of the lower bounds since the last knot
    above: list[Point] = [(0, start)]  # greatest convex minorant of the upper bounds since the last knot
    for x, (low, high) in enumerate(zip(lower, upper, strict=True), start=1):
        _extend(below, (x, low), concave=True)
        _extend(above, (x, high), concave=False)
        while len(below) > 1 and len(above) > 1 and _slope(below) > _slope(above):
            # No straight line passes between the bounds: the path has a knot on the longer chain.
            bent, other, last = (below, above, high) if len(above) == 2 else (above, below, low)  # noqa: PLR2004
            knots.append(bent[1])
            del bent[0]
            other[:] = [knots[-1]] if knots[-1][0] == x else [knots[-1], (x, last)]
    if knots[-1][0] < len(lower):
        knots.append((len(lower), upper[-1]))
    return _between(knots)


def _extend(chain: list[Point], point: Point, *, concave: bool) -> None:
    while len(chain) > 1:
        (x0, y0), (x1, y1) = chain[-2], chain[-1]
        bend = (point[1] - y1) * (x1 - x0) - (y1 - y0) * (point[0] - x1)
        if (bend < 0.0) if concave else (bend > 0.0):
            break
        chain.pop()
    chain.append(point)


def _slope(chain: Sequence[Point]) -> float:
    (x0, y0), (x1, y1) = chain[0], chain[1]
    return (y1 - y0) / (x1 - x0)


def _between(knots: Sequence[Point]) -> list[float]:
    values = []
    for (x0, y0), (x1, y1) in pairwise(knots):
        values += [y0 + (y1 - y0) * (x - x0) / (x1 - x0) for x in range(x0 + 1, x1)] + [y1]
    return values
