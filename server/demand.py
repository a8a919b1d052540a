"""What a request demands of its answer: how soon, from which sub-net, how accurate at least."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.budget import read_budget
from server.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.budget import Budget

_RATIO = re.compile(r"(0?\.[0-9]{1,12}|[01](\.[0-9]{0,12})?)")


@dataclass(frozen=True)
class Demand:
    """subnet: the pinned sub-net's name. min_accuracy: a ratio in [0, 1]. None: no such demand."""

    budget: Budget
    subnet: str | None = None
    min_accuracy: float | None = None


def read_demand(headers: Sequence[tuple[str, str]], max_budget: float, timeout: object = None) -> Demand:
    """The demand in lower-cased header pairs and the V2 `timeout` parameter; raises `BadInput`.

    Whether the pinned sub-net exists is the deployment's to say.
    """
    subnet = min_accuracy = None
    for name, value in headers:
        if name == "x-subnet":
            subnet = value.strip()[:80] or None
        elif name == "x-min-accuracy":
            min_accuracy = _ratio(value.strip())
    return Demand(read_budget(headers, max_budget, timeout), subnet, min_accuracy)


def _ratio(text: str) -> float:
    if not _RATIO.fullmatch(text) or float(text) > 1.0:
        raise BadInput(f"X-Min-Accuracy {text[:40]!r}: give a ratio between 0 and 1, such as 0.9")
    return float(text)
