"""What a request demands of its answer: how soon, from which sub-net, how accurate at least, before whom."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.server.budget import read_budget
from downshift.server.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.server.budget import Budget

USUAL_RANK, LAST_RANK = 4, 8  # priorities on the wire: 1 goes first
_RATIO = re.compile(r"(0?\.[0-9]{1,12}|[01](\.[0-9]{0,12})?)")


@dataclass(frozen=True)
class Demand:
    """subnet: the pinned sub-net's name. min_accuracy: a ratio in [0, 1]. None: no such demand.

    priority: as `downshift.runtime.request.Request` has it, larger goes first; 0 for who names none.
    """

    budget: Budget
    subnet: str | None = None
    min_accuracy: float | None = None
    priority: int = 0


def read_demand(
    headers: Sequence[tuple[str, str]], max_budget: float, timeout: object = None, priority: object = None
) -> Demand:
    """The demand in lower-cased header pairs and the V2 parameters; raises `BadInput`.

    Whether the pinned sub-net exists is the deployment's to say. Of two priorities the more urgent counts.
    """
    subnet = min_accuracy = None
    ranks = [] if priority is None else [_rank(priority)]
    for name, value in headers:
        if name == "x-subnet":
            subnet = value.strip()[:80] or None
        elif name == "x-min-accuracy":
            min_accuracy = _ratio(value.strip())
        elif name == "x-priority":
            ranks.append(_header_rank(value.strip()))
    rank = min(ranks, default=USUAL_RANK)
    return Demand(read_budget(headers, max_budget, timeout), subnet, min_accuracy, USUAL_RANK - rank)


def _ratio(text: str) -> float:
    if not _RATIO.fullmatch(text) or float(text) > 1.0:
        raise BadInput(f"X-Min-Accuracy {text[:40]!r}: give a ratio between 0 and 1, such as 0.9")
    return float(text)


def _header_rank(text: str) -> int:
    if not (len(text) == 1 and "0" <= text <= str(LAST_RANK)):
        raise BadInput(f"X-Priority {text[:40]!r}: give 1, which goes first, to {LAST_RANK}")
    return int(text) or USUAL_RANK


def _rank(parameter: object) -> int:
    """The rank that a V2 `priority` parameter names; zero means the usual one, as in Triton."""
    if not isinstance(parameter, int) or isinstance(parameter, bool) or not 0 <= parameter <= LAST_RANK:
        shown = repr(parameter)[:40]
        raise BadInput(f"parameters.priority {shown}: give 1, which goes first, to {LAST_RANK}")
    return parameter or USUAL_RANK
