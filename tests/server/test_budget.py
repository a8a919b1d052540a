from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.server.demand import LABELS, MAX_SKEW, SOURCES, Budget, read_budget
from downshift.server.errors import BadInput, DeadlinePassed

MAXIMUM = 60.0


@pytest.mark.parametrize(
    ("header", "value", "seconds"),
    [
        ("x-latency-budget-ms", "25", 0.025),
        ("x-latency-budget-ms", " 12.5 ", 0.0125),
        ("x-latency-budget-ms", ".5", 0.0005),
        ("grpc-timeout", "50m", 0.05),
        ("grpc-timeout", "1H", MAXIMUM),
        ("grpc-timeout", "1M", 60.0),
        ("grpc-timeout", "2S", 2.0),
        ("grpc-timeout", "1500u", 0.0015),
        ("grpc-timeout", "99999999n", 0.099999999),
        ("x-envoy-expected-rq-timeout-ms", "15", 0.015),
        ("connect-timeout-ms", "20", 0.02),
        ("x-request-timeout-seconds", "1.5", 1.5),
        ("request-timeout", "3", 3.0),
        ("prefer", "wait=10", 10.0),
        ("prefer", 'respond-async, wait="10"', 10.0),
        ("prefer", "Wait=10; strict, handling=lenient", 10.0),
    ],
)
def test_every_source_is_honoured(header: str, value: str, seconds: float) -> None:
    budget = read_budget([("accept", "*/*"), (header, value)], MAXIMUM)
    assert budget.seconds == pytest.approx(seconds)
    assert budget.source == header
    assert budget.malformed == ()
    assert budget.wait == (10 if header == "prefer" else None)


def test_without_a_source_the_maximum_is_granted() -> None:
    assert read_budget([("x-subnet", "s90")], MAXIMUM) == Budget(MAXIMUM, "none")


@pytest.mark.parametrize(
    "value", ["", "0", "-1", "nan", "inf", "1e3", "1_000", "abc", "0x10", "1,5", "٣", "25ms"]
)
def test_a_malformed_budget_of_ours_is_refused_and_named(value: str) -> None:
    with pytest.raises(BadInput, match="X-Latency-Budget-Ms"):
        read_budget([("x-latency-budget-ms", value)], MAXIMUM)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("grpc-timeout", "100"),
        ("grpc-timeout", "123456789m"),
        ("grpc-timeout", "0m"),
        ("x-envoy-expected-rq-timeout-ms", "1.5"),
        ("x-envoy-expected-rq-timeout-ms", "-4"),
        ("connect-timeout-ms", "12345678901"),
        ("x-request-timeout-seconds", "soon"),
        ("request-timeout", "-1"),
        ("prefer", "wait"),
        ("prefer", "wait=soon"),
        ("prefer", "wait=-3"),
    ],
)
def test_a_malformed_foreign_header_is_ignored_and_reported(header: str, value: str) -> None:
    budget = read_budget([(header, value), ("request-timeout", "5")], MAXIMUM)
    assert budget.seconds == 5.0
    assert budget.malformed == (header,)


def test_a_preference_that_is_not_wait_is_not_malformed() -> None:
    assert read_budget([("prefer", "return=minimal")], MAXIMUM) == Budget(MAXIMUM)


def test_the_timeout_parameter_is_in_microseconds_and_zero_means_none() -> None:
    assert read_budget([], MAXIMUM, 25_000) == Budget(0.025, "timeout")
    assert read_budget([], MAXIMUM, 0) == Budget(MAXIMUM)


@pytest.mark.parametrize("timeout", [-1, 1.5, "25", True, [], {}])
def test_a_malformed_timeout_parameter_is_refused(timeout: object) -> None:
    with pytest.raises(BadInput, match="whole microseconds"):
        read_budget([], MAXIMUM, timeout)


@given(
    st.lists(
        st.tuples(st.sampled_from(["x-latency-budget-ms", "connect-timeout-ms"]), st.integers(1, 10**9))
    ),
    st.none() | st.integers(1, 10**12),
)
def test_the_smallest_valid_budget_counts_up_to_the_maximum(
    headers: list[tuple[str, int]], timeout: int | None
) -> None:
    given_seconds = [milliseconds / 1e3 for _, milliseconds in headers]
    given_seconds += [] if timeout is None else [timeout / 1e6]
    budget = read_budget([(name, str(value)) for name, value in headers], MAXIMUM, timeout)
    assert math.isclose(budget.seconds, min([*given_seconds, MAXIMUM]))
    assert (budget.source == "none") == (not given_seconds)


@given(st.sampled_from(sorted(SOURCES)), st.text(max_size=30))
def test_no_text_gives_anything_but_a_budget_or_bad_input(header: str, value: str) -> None:
    try:
        budget = read_budget([(header, value)], MAXIMUM)
    except BadInput:
        assert SOURCES[header].remedy is not None
    else:
        assert 0 < budget.seconds <= MAXIMUM
        assert budget.source in LABELS


NOON = 1_900_000_000.0  # Unix seconds


def deadline(seconds: float) -> tuple[str, str]:
    """The header for a deadline that many seconds after noon."""
    return "x-deadline-unix-ms", f"{(NOON + seconds) * 1e3:.3f}"


def at(seconds: float, *headers: tuple[str, str]) -> Budget:
    """The budget of a request that arrives that many seconds after noon."""
    return read_budget(headers, MAXIMUM, arrived=lambda: NOON + seconds)


def test_a_deadline_grants_what_is_left_of_it_when_the_request_arrives() -> None:
    budget = at(0.5, deadline(2.0))
    assert budget.seconds == pytest.approx(1.5)
    assert budget.source == "x-deadline-unix-ms"


def test_a_retry_with_the_same_headers_ends_at_the_same_moment() -> None:
    headers = ("x-latency-budget-ms", "2000"), deadline(2.0)
    tries = [at(moment, *headers) for moment in (0.0, 0.8, 1.9)]
    assert [budget.seconds for budget in tries] == pytest.approx([2.0, 1.2, 0.1])
    assert [at(moment, headers[0]).seconds for moment in (0.0, 0.8, 1.9)] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("late", [0.0, 0.001, 3600.0])
def test_a_try_that_arrives_after_the_deadline_is_refused(late: float) -> None:
    with pytest.raises(DeadlinePassed, match="by this server's clock: send a later deadline"):
        at(2.0 + late, ("x-latency-budget-ms", "2000"), deadline(2.0))


def test_clocks_that_differ_by_less_than_the_bound_leave_the_relative_budget() -> None:
    budget = at(-0.9 * MAX_SKEW, ("x-latency-budget-ms", "2000"), deadline(2.0))
    assert budget == Budget(2.0, "x-latency-budget-ms")


@pytest.mark.parametrize("swapped", [False, True])
def test_clocks_that_disagree_are_refused_with_both_figures(swapped: bool) -> None:
    headers = [("x-latency-budget-ms", "25"), deadline(0.025)]
    with pytest.raises(BadInput, match=r"2025 ms ahead .* grants only 25 ms: the clocks disagree"):
        at(-2.0, *(reversed(headers) if swapped else headers))


def test_a_deadline_alone_may_be_far_ahead_and_is_clamped_to_the_maximum() -> None:
    assert at(0.0, deadline(3600.0)) == Budget(MAXIMUM, "x-deadline-unix-ms")


@pytest.mark.parametrize("value", [f"{NOON:.0f}", f"{NOON * 1e6:.0f}"[:15], "0", "25"])
def test_a_deadline_in_another_unit_is_refused_with_the_right_one(value: str) -> None:
    with pytest.raises(BadInput, match="more than a day from now: give milliseconds since 1970"):
        at(0.0, ("x-deadline-unix-ms", value))


@pytest.mark.parametrize("value", ["", "-1", "1e12", "soon", "nan", "1234567890123456"])
def test_a_malformed_deadline_is_refused_and_named(value: str) -> None:
    with pytest.raises(BadInput, match=r"X-Deadline-Unix-Ms .*: give milliseconds since 1970"):
        at(0.0, ("x-deadline-unix-ms", value))


def test_the_wall_clock_is_read_for_a_deadline_only() -> None:
    def never() -> float:
        raise AssertionError

    assert read_budget([("x-latency-budget-ms", "25")], MAXIMUM, arrived=never).seconds == 0.025
