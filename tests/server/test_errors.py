"""Every error of runtime and server comes to exactly one outcome and one status."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from downshift.models.images.errors import ImageError
from downshift.runtime import errors as runtime
from downshift.runtime.request import Outcome
from downshift.server import errors as server
from downshift.server.errors import ERRORS, UNEXPECTED, Code, row_of
from downshift.server.statistics import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator

BASES = {runtime.RuntimeFault, runtime.Rejected, server.ServerFault, ImageError}
"""Raised only as one of their subclasses, so that they have no row."""


def below(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for kind in base.__subclasses__():
        if kind.__module__.startswith("downshift."):
            yield from below(kind)


ALL = sorted(
    {kind for base in (runtime.RuntimeFault, server.ServerFault, ImageError) for kind in below(base)} - BASES,
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_has_exactly_one_row(kind: type[Exception]) -> None:
    rows = [each for each in kind.__mro__ if each in ERRORS]
    assert rows, f"{kind.__name__} needs a row in ERRORS"
    assert all(issubclass(rows[0], each) for each in rows), "else two rows would compete"
    assert row_of(kind.__new__(kind)) == ERRORS[rows[0]]


def test_bases_have_no_row_so_that_a_new_error_needs_one() -> None:
    assert not BASES & ERRORS.keys()


def test_an_unexpected_exception_is_a_failure_whose_text_stays_here() -> None:
    assert row_of(KeyError("secret")) == UNEXPECTED == (Outcome.FAILED, None, Code.INTERNAL)


def test_an_outcome_has_statuses_of_its_own_kind() -> None:
    for kind, (outcome, status, _) in ERRORS.items():
        assert outcome not in (Outcome.OK, Outcome.LATE), kind
        if outcome is Outcome.EXPIRED:
            assert status == HTTPStatus.GATEWAY_TIMEOUT
        elif outcome is Outcome.INVALID:
            assert status is not None
            assert status < HTTPStatus.INTERNAL_SERVER_ERROR
        elif outcome is Outcome.FAILED:
            assert status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def test_every_outcome_without_an_answer_has_a_reason_of_tritons() -> None:
    assert REASONS.keys() == set(Outcome) - {Outcome.OK, Outcome.LATE}


CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    413: Code.RESOURCE_EXHAUSTED,
    415: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
    None: Code.INTERNAL,
}


def test_a_status_and_its_code_mean_the_same() -> None:
    assert {status: code for _, status, code in ERRORS.values()} == CODES
    assert all(CODES[status] is code for _, status, code in ERRORS.values())


def test_every_code_is_one_of_grpcs() -> None:
    grpc = pytest.importorskip("grpc")
    assert {code.name for code in grpc.StatusCode} >= set(Code)
