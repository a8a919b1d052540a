from __future__ import annotations

import re

import pytest

from downshift.server.telemetry.identity import TraceContext, read_identity, read_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize("text", ["a", "7f3c-9_A.z~", "req:1/2+3=@x", "x" * 128])
def test_a_fit_request_id_is_kept(text: str) -> None:
    assert read_identity([(b"host", b"x"), (b"x-request-id", text.encode())]).request_id == text


@pytest.mark.parametrize("text", ["", "x" * 129, "a b", 'a"b', "a\tb", "a\x7fb", "\xe9", "a\nb", "{}"])
def test_an_unfit_request_id_is_replaced(text: str) -> None:
    found = read_identity([(b"x-request-id", text.encode("latin-1"))]).request_id
    assert re.fullmatch("[0-9a-f]{32}", found)


def test_without_an_id_every_request_gets_one_of_its_own() -> None:
    first, second = read_identity([]), read_identity([])
    assert first.request_id != second.request_id
    assert first.trace is None


def test_the_first_of_several_counts() -> None:
    headers = [(b"x-request-id", b"one"), (b"x-request-id", b"two")]
    assert read_identity(headers).request_id == "one"


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("03", True), ("fe", False)])
def test_a_trace_is_continued(flags: str, sampled: bool) -> None:
    found = read_identity([(b"traceparent", f"00-{TRACE}-{SPAN}-{flags}".encode())]).trace
    assert found is not None
    assert (found.trace_id, found.parent_id, found.sampled) == (TRACE, SPAN, sampled)
    assert re.fullmatch("[0-9a-f]{16}", found.span_id)
    assert found.span_id not in (SPAN, "0" * 16)


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert read_traceparent(f"01-{TRACE}-{SPAN}-01-more".encode()) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01more",
    ],
)
def test_a_traceparent_that_its_specification_does_not_allow_is_ignored(text: str) -> None:
    assert read_traceparent(text.encode()) is None


def test_the_client_is_told_its_trace_and_our_span() -> None:
    assert TraceContext(TRACE, SPAN, "b" * 16, sampled=True).header == f"00-{TRACE}-{'b' * 16}-01"
    assert TraceContext(TRACE, SPAN, "b" * 16, sampled=False).header.endswith("-00")
