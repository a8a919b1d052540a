"""What a request demands of its answer: its latency budget, a sub-net, an accuracy floor, a priority; and how
much of a budget to reserve for delivery.

`SOURCES` lists every header that can carry a budget. Parsers are pure functions of a header's text and return
seconds, or None for a value that their own specification does not allow. Our own headers,
`X-Latency-Budget-Ms` and `X-Deadline-Unix-Ms`, are strict: a malformed one is an error. The others were
written for somebody else, so a malformed one is ignored, and named in the result so that it can be counted.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.server.errors import BadInput, DeadlinePassed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

NO_SOURCE = "none"
PARAMETER = "timeout"
_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?|\.[0-9]{1,12}")
_DIGITS = re.compile(r"[0-9]{1,10}")
_UNIX = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
_GRPC = re.compile(r"([0-9]{1,8})([HMSmun])")
_GRPC_UNIT = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_WAIT = re.compile(r"""(?:^|,)\s*wait\s*(?:=\s*("?)([^",;\s]*)\1)?\s*(?=$|[,;])""", re.IGNORECASE)
USUAL_RANK, LAST_RANK = 4, 8  # priorities on the wire: 1 goes first
MAX_SKEW = 0.5  # seconds that a deadline may lie beyond what the relative budget beside it allows
_FAR = 86_400.0  # seconds from now beyond which a deadline is no deadline but another unit
_RATIO = re.compile(r"(0?\.[0-9]{1,12}|[01](\.[0-9]{0,12})?)")
LEAST = 1e-4  # seconds of delivery; where the estimate begins
UP = 1.1  # factor on the estimate for an answer that took longer
PUNCTUAL = 0.98  # quantile of delivery times that the estimate tends to
DOWN = UP ** -((1.0 - PUNCTUAL) / PUNCTUAL)  # factor for an answer that did not: in balance at that quantile
SHARE = 0.1  # of a budget that is reserved for delivery at most


@dataclass(frozen=True)
class Budget:
    """What a request may take, from its first byte to its answer.

    seconds: the smallest valid budget, clamped to the server's maximum; that maximum when the client named
    none. source: the label of where it came from, `none` for nowhere.
    malformed: labels of foreign headers that were present and could not be read.
    wait: the seconds of a `Prefer: wait=N` that is honoured, to be confirmed to the client.
    """

    seconds: float
    source: str = NO_SOURCE
    malformed: tuple[str, ...] = ()
    wait: int | None = None

    def deadline(self, began: float) -> float | None:
        """When the answer must be there for a request that began then; None where nobody named a budget."""
        return None if self.source == NO_SOURCE else began + self.seconds


@dataclass(frozen=True)
class Source:
    """One header that can carry a budget: its metric label and its parser, text to seconds.

    remedy: what the error for a malformed value recommends; None for a foreign header, which is ignored then.
    absolute: the seconds are Unix time, not relative to the request's first byte.
    """

    label: str
    parse: Callable[[str], float | None]
    remedy: str | None = None
    absolute: bool = False


def decimal(scale: float) -> Callable[[str], float | None]:
    """A parser of positive decimal numbers, `scale` seconds each."""

    def parse(text: str) -> float | None:
        return _positive(float(text) * scale) if _DECIMAL.fullmatch(text) else None

    return parse


def digits(scale: float) -> Callable[[str], float | None]:
    """A parser of positive whole numbers of at most ten digits, `scale` seconds each."""

    def parse(text: str) -> float | None:
        return _positive(int(text) * scale) if _DIGITS.fullmatch(text) else None

    return parse


def unix_milliseconds(text: str) -> float | None:
    """Unix seconds of a moment given in milliseconds."""
    return float(text) * 1e-3 if _UNIX.fullmatch(text) else None


def grpc_timeout(text: str) -> float | None:
    """Seconds of a gRPC `TimeoutValue TimeoutUnit`: up to eight digits and one of H M S m u n."""
    if match := _GRPC.fullmatch(text):
        return _positive(int(match[1]) * _GRPC_UNIT[match[2]])
    return None


def prefer_wait(text: str) -> float | None:
    """Seconds of the `wait` preference (RFC 7240, section 4.3); None when it is not a whole number."""
    if match := _WAIT.search(text):
        return digits(1.0)(match[2] or "")
    return None


def _positive(seconds: float) -> float | None:
    return seconds if seconds > 0 else None


SOURCES: Mapping[str, Source] = {
    "x-latency-budget-ms": Source(
        "x-latency-budget-ms", decimal(1e-3), "give milliseconds above 0, such as 25"
    ),
    "x-deadline-unix-ms": Source(
        "x-deadline-unix-ms", unix_milliseconds, "give milliseconds since 1970 UTC", absolute=True
    ),
    "grpc-timeout": Source("grpc-timeout", grpc_timeout),
    "x-envoy-expected-rq-timeout-ms": Source("x-envoy-expected-rq-timeout-ms", digits(1e-3)),
    "connect-timeout-ms": Source("connect-timeout-ms", digits(1e-3)),
    "x-request-timeout-seconds": Source("x-request-timeout-seconds", decimal(1.0)),
    "request-timeout": Source("request-timeout", decimal(1.0)),
    "prefer": Source("prefer", prefer_wait),
}

LABELS = (NO_SOURCE, PARAMETER, *(source.label for source in SOURCES.values()))


def read_budget(
    headers: Iterable[tuple[str, str]],
    maximum: float,
    timeout: object = None,
    arrived: Callable[[], float] = time.time,
) -> Budget:
    """The budget granted by lower-cased header pairs and the V2 `timeout` parameter (microseconds).

    `maximum` (seconds) bounds the result. arrived: Unix seconds of the request's first byte; called only for
    an absolute deadline. Raises `DeadlinePassed`, and `BadInput` for a malformed header of ours, for a
    `timeout` that is not a whole number of microseconds (zero means none, as in Triton), and where deadline
    and relative budget show that the clocks disagree.
    """
    best, label = maximum, NO_SOURCE
    malformed: list[str] = []
    wait: int | None = None
    relative = until_deadline = None
    for name, value in headers:
        source = SOURCES.get(name)
        if source is None:
            continue
        text = value.strip()
        seconds = source.parse(text)
        if seconds is None:
            if source.remedy is not None:
                raise BadInput(f"{source.label.title()} {text[:40]!r}: {source.remedy}")
            if name != "prefer" or _WAIT.search(text):
                malformed.append(source.label)
            continue
        if source.absolute:
            until_deadline = seconds = _until(seconds, arrived())
        elif source.remedy is not None:
            relative = seconds
        if name == "prefer":
            wait = int(seconds)
        if label == NO_SOURCE or seconds < best:
            best, label = min(seconds, maximum), source.label
    from_parameter = _timeout_seconds(timeout)
    if from_parameter is not None and (label == NO_SOURCE or from_parameter < best):
        best, label = min(from_parameter, maximum), PARAMETER
    if relative is not None and until_deadline is not None and until_deadline - relative > MAX_SKEW:
        raise BadInput(
            f"X-Deadline-Unix-Ms is {until_deadline * 1e3:.0f} ms ahead by this server's clock, but "
            f"X-Latency-Budget-Ms grants only {relative * 1e3:.6g} ms: the clocks disagree, synchronise them"
        )
    return Budget(best, label, tuple(malformed), wait)


def _until(deadline: float, arrived: float) -> float:
    """Seconds from a request's arrival to its deadline, above 0; both are Unix seconds."""
    left = deadline - arrived
    if abs(left) > _FAR:
        remedy = "give milliseconds since 1970 UTC"
        raise BadInput(f"X-Deadline-Unix-Ms {deadline * 1e3:.0f} is more than a day from now: {remedy}")
    if left <= 0:
        raise DeadlinePassed(-left)
    return left


def _timeout_seconds(timeout: object) -> float | None:
    if timeout is None:
        return None
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 0:
        raise BadInput(f"parameters.timeout {repr(timeout)[:40]}: give whole microseconds, such as 25000")
    return timeout / 1e6 or None


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
    headers: Sequence[tuple[str, str]],
    max_budget: float,
    timeout: object = None,
    priority: object = None,
    *,
    arrived: Callable[[], float] = time.time,
) -> Demand:
    """The demand in lower-cased header pairs and the V2 parameters; raises as `read_budget` does.

    Whether the pinned sub-net exists is the deployment's to say. Of two priorities the more urgent counts, of
    two accuracies the higher; two sub-nets are a `BadInput`.
    """
    subnet: str | None = None
    min_accuracy: float | None = None
    ranks = [] if priority is None else [_rank(priority)]
    for name, value in headers:
        if name == "x-subnet":
            named = value.strip()[:80] or None
            if None not in (subnet, named) and named != subnet:
                raise BadInput(f"X-Subnet {subnet!r} and {named!r}: send one of them")
            subnet = named or subnet
        elif name == "x-min-accuracy":
            min_accuracy = max(_ratio(value.strip()), min_accuracy or 0.0)
        elif name == "x-priority":
            ranks.append(_header_rank(value.strip()))
    rank = min(ranks, default=USUAL_RANK)
    return Demand(read_budget(headers, max_budget, timeout, arrived), subnet, min_accuracy, USUAL_RANK - rank)


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


def after(estimate: float, took: float) -> float:
    """The estimate after one more delivery of so many seconds: stochastic approximation of a quantile."""
    return estimate * UP if took > estimate else max(LEAST, estimate * DOWN)


class Delivery:
    """Online estimate of delivery time, seconds from the end of computation until the request's task resumes.

    Owned by the event loop. All models of a server share one: the loop that delays one answer delays all.
    """

    def __init__(self) -> None:
        self.seconds = LEAST

    def took(self, seconds: float) -> None:
        """One more answer took that long to deliver."""
        self.seconds = after(self.seconds, seconds)

    def reserve(self, budget: float) -> float:
        """Seconds of a budget to reserve for delivery."""
        return min(self.seconds, SHARE * budget)
