"""What a request is called: its own id, and the trace it is part of (W3C Trace Context, level 1)."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:+/=@-]{1,128}")
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The trace that a client's `traceparent` names, as lower-case hexadecimal digits.

    parent_id: the client's span. span_id: this request's, which is ours to choose.
    """

    trace_id: str
    parent_id: str
    span_id: str
    sampled: bool

    @property
    def header(self) -> str:
        """The value of `traceresponse`, which tells the client what this request is in its trace."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"


@dataclass(frozen=True, slots=True)
class Identity:
    """A request's id, the client's where that is fit to be repeated, and its trace if it has one."""

    request_id: str
    trace: TraceContext | None = None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the response says of it, as raw headers."""
        found = [(b"x-request-id", self.request_id.encode("ascii"))]
        if self.trace is not None:
            found.append((b"traceresponse", self.trace.header.encode("ascii")))
        return found


def read_identity(headers: Iterable[tuple[bytes, bytes]]) -> Identity:
    """The identity in lower-cased raw headers; an unfit `x-request-id` is replaced, a `traceparent` ignored.

    Nothing is refused for it: both are for people who look at logs. Of several values the first counts.
    """
    request_id: str | None = None
    trace: TraceContext | None = None
    for name, value in headers:
        if name == b"x-request-id":
            if request_id is None and _REQUEST_ID.fullmatch(value):
                request_id = value.decode("ascii")
        elif name == b"traceparent" and trace is None:
            trace = read_traceparent(value)
    return Identity(request_id or f"{random.getrandbits(128):032x}", trace)


def read_traceparent(value: bytes) -> TraceContext | None:
    """The trace of a `traceparent` value; None for one that its specification does not allow."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if version == b"ff" or not int(trace_id, 16) or not int(parent_id, 16) or (version == b"00" and more):
        return None
    span_id = random.getrandbits(64) or 1
    return TraceContext(trace_id.decode(), parent_id.decode(), f"{span_id:016x}", bool(int(flags, 16) & 1))
