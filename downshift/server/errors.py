"""Errors of the `server` package, and the one table from error to outcome, HTTP status and gRPC code.

    ServerFault
    ├── BadInput            a request that cannot be understood; the text names value and remedy
    ├── UnknownModel        a model or version this server does not hold
    ├── NotReady            the model is still being loaded and profiled
    ├── Dead                this process will answer no more: it must be started again
    ├── LoadFailed          an artifact that is not fit to serve; what was served before goes on
    ├── Unauthorized        no key, or none of the right ones
    ├── Forbidden           what this server does for nobody, as it is set up
    ├── BodyTooLarge        a body longer than the server's limit
    ├── UnsupportedMedia    a content type or encoding the endpoint does not read
    ├── DeadlinePassed      the deadline had passed before the request arrived
    ├── ClientGone          the client hung up before its answer was ready
    ├── DecodersBusy        a `Shed` of the runtime's: the queue of images to decode is full
    ├── TooManyStreams      as many pages are watching as may watch
    └── BadSetting          a server setting that cannot be; only whoever starts the server sees it

An upload that is no usable image raises an `ImageError` of `downshift.models.images.errors`.

Only the text of an error with a status in `ERRORS` reaches a client. For anything else the answer
is a 500 that carries nothing but the request's id, and the log has the rest.
"""

from __future__ import annotations

import math
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from downshift.errors import DownshiftError
from downshift.models.errors import UnknownName
from downshift.models.images.errors import BrokenImage, ImageTooLarge, NotAnImage, UnsupportedImage
from downshift.runtime.errors import (
    Abandoned,
    AccuracyUnavailable,
    CalibrationError,
    DeadlineExpired,
    DeadlineImpossible,
    Draining,
    ExecutionFailed,
    InvalidRequest,
    Missing,
    ProfileError,
    SelfCheckFailed,
    Shed,
    TraceError,
    UnsupportedModel,
)
from downshift.runtime.request import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class ServerFault(DownshiftError):  # noqa: N818 - named like RuntimeFault
    """Base of every error this package raises; the text is one sentence meant for the client."""


class BadInput(ServerFault):
    """A request that cannot be understood."""


class UnknownModel(ServerFault):
    """A model or version that is not served; the text names those that are."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        choice = ", ".join(known)
        remedy = f"choose one of {choice}" if choice else "nothing is, until a model is loaded"
        super().__init__(f"no model {name[:80]!r} is served here: {remedy}")


class NotReady(ServerFault):
    """The model is still being loaded and profiled; `retry_after` is in seconds."""

    retry_after = 2.0


class Dead(ServerFault):
    """A model's execution thread has ended by a defect; nothing in this process brings it back."""

    def __init__(self) -> None:
        super().__init__("a model's execution thread has died: restart this server, and read its log")


class LoadFailed(ServerFault):
    """An artifact that cannot be read, prepared or trusted; whatever was served before still is."""


class Unauthorized(ServerFault):
    """The request carries no key, or none of the right ones."""


class Forbidden(ServerFault):
    """What this server does for nobody, as its operator has set it up."""


class BodyTooLarge(ServerFault):
    """A body longer than the server's limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is longer than the {limit} bytes this server accepts: send less at once")


class UnsupportedMedia(ServerFault):
    """A content type or encoding that the endpoint does not read."""


class DeadlinePassed(ServerFault):
    """The absolute deadline had passed before the request arrived; nothing was executed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"X-Deadline-Unix-Ms passed {seconds * 1e3:.0f} ms before the request arrived, by this server's "
            "clock: send a later deadline, or synchronise the clocks"
        )


class ClientGone(ServerFault):
    """The client hung up before its answer was ready; nobody reads this response."""


class DecodersBusy(ServerFault, Shed):
    """The queue of images to decode is full."""

    def __init__(self, capacity: int) -> None:
        Shed.__init__(
            self,
            f"{capacity} images wait to be decoded, as many as may: retry in a second",
            retry_after=1.0,
        )


class TooManyStreams(ServerFault):
    """As many pages are watching as may watch."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} pages are watching this server, as many as may: close one of them")


class BadSetting(ServerFault):
    """A setting the server cannot start with."""


CLIENT_CLOSED_REQUEST = 499


class Code(StrEnum):
    """The codes of gRPC in use, by their names in `grpc.StatusCode`: gRPC itself is an extra."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    CANCELLED = "CANCELLED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"


class Row(NamedTuple):
    """outcome: as metrics, history and statistics count it.

    status: HTTP's; None where the text is not for clients, who get a 500 without it. code: gRPC's.
    """

    outcome: Outcome
    status: int | None
    code: Code


ERRORS: Mapping[type[Exception], Row] = {
    BadInput: Row(Outcome.INVALID, HTTPStatus.BAD_REQUEST, Code.INVALID_ARGUMENT),
    BrokenImage: Row(Outcome.INVALID, HTTPStatus.BAD_REQUEST, Code.INVALID_ARGUMENT),
    InvalidRequest: Row(Outcome.INVALID, HTTPStatus.BAD_REQUEST, Code.INVALID_ARGUMENT),
    UnknownName: Row(Outcome.INVALID, HTTPStatus.BAD_REQUEST, Code.INVALID_ARGUMENT),
    AccuracyUnavailable: Row(Outcome.INVALID, HTTPStatus.BAD_REQUEST, Code.INVALID_ARGUMENT),
    LoadFailed: Row(Outcome.INVALID, HTTPStatus.BAD_REQUEST, Code.INVALID_ARGUMENT),
    Unauthorized: Row(Outcome.INVALID, HTTPStatus.UNAUTHORIZED, Code.UNAUTHENTICATED),
    Forbidden: Row(Outcome.INVALID, HTTPStatus.FORBIDDEN, Code.PERMISSION_DENIED),
    UnknownModel: Row(Outcome.INVALID, HTTPStatus.NOT_FOUND, Code.NOT_FOUND),
    BodyTooLarge: Row(Outcome.INVALID, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Code.RESOURCE_EXHAUSTED),
    ImageTooLarge: Row(Outcome.INVALID, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Code.RESOURCE_EXHAUSTED),
    UnsupportedMedia: Row(Outcome.INVALID, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, Code.INVALID_ARGUMENT),
    NotAnImage: Row(Outcome.INVALID, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, Code.INVALID_ARGUMENT),
    UnsupportedImage: Row(Outcome.INVALID, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, Code.INVALID_ARGUMENT),
    Shed: Row(Outcome.SHED, HTTPStatus.TOO_MANY_REQUESTS, Code.RESOURCE_EXHAUSTED),
    TooManyStreams: Row(Outcome.SHED, HTTPStatus.TOO_MANY_REQUESTS, Code.RESOURCE_EXHAUSTED),
    NotReady: Row(Outcome.SHED, HTTPStatus.SERVICE_UNAVAILABLE, Code.UNAVAILABLE),
    Draining: Row(Outcome.SHED, HTTPStatus.SERVICE_UNAVAILABLE, Code.UNAVAILABLE),
    ClientGone: Row(Outcome.CANCELLED, CLIENT_CLOSED_REQUEST, Code.CANCELLED),
    DeadlinePassed: Row(Outcome.EXPIRED, HTTPStatus.GATEWAY_TIMEOUT, Code.DEADLINE_EXCEEDED),
    DeadlineImpossible: Row(Outcome.EXPIRED, HTTPStatus.GATEWAY_TIMEOUT, Code.DEADLINE_EXCEEDED),
    DeadlineExpired: Row(Outcome.EXPIRED, HTTPStatus.GATEWAY_TIMEOUT, Code.DEADLINE_EXCEEDED),
    Abandoned: Row(Outcome.FAILED, HTTPStatus.SERVICE_UNAVAILABLE, Code.UNAVAILABLE),
    Dead: Row(Outcome.FAILED, HTTPStatus.SERVICE_UNAVAILABLE, Code.UNAVAILABLE),
    ExecutionFailed: Row(Outcome.FAILED, HTTPStatus.INTERNAL_SERVER_ERROR, Code.INTERNAL),
    # Raised at start, in the background, or by commands: whoever runs the server reads them.
    BadSetting: Row(Outcome.FAILED, None, Code.INTERNAL),
    Missing: Row(Outcome.FAILED, None, Code.INTERNAL),
    UnsupportedModel: Row(Outcome.FAILED, None, Code.INTERNAL),
    CalibrationError: Row(Outcome.FAILED, None, Code.INTERNAL),
    SelfCheckFailed: Row(Outcome.FAILED, None, Code.INTERNAL),
    ProfileError: Row(Outcome.FAILED, None, Code.INTERNAL),
    TraceError: Row(Outcome.FAILED, None, Code.INTERNAL),
}
"""The one table from error to outcome, status and code; without a row, the nearest ancestor's counts."""

UNEXPECTED = Row(Outcome.FAILED, None, Code.INTERNAL)
"""What any other exception comes to."""


def row_of(error: Exception) -> Row:
    """What the error comes to."""
    return next((ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS), UNEXPECTED)


def retry_after(error: Exception) -> int | None:
    """Whole seconds, at least one, until the same request may succeed; None where waiting is no remedy."""
    if not isinstance(error, Shed | NotReady | Draining):
        return None
    return max(1, math.ceil(getattr(error, "retry_after", 1.0)))
