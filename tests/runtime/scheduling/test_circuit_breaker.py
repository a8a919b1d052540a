from __future__ import annotations

from downshift.runtime.scheduling.circuit_breaker import FAILURES, CircuitBreaker

A, B = ("s50", "cuda"), ("s90", "cuda")


def test_it_opens_at_the_third_failure_in_a_row() -> None:
    breaker = CircuitBreaker()
    assert [breaker.failed(A, 4) for _ in range(FAILURES)] == [False, False, True]


def test_a_success_in_between_begins_a_new_row() -> None:
    breaker = CircuitBreaker()
    for _ in range(9):
        assert not breaker.failed(A, 4)
        assert not breaker.failed(A, 4)
        breaker.succeeded(A, 4)


def test_a_smaller_batch_proves_nothing() -> None:
    breaker = CircuitBreaker()
    opened = []
    for _ in range(FAILURES):
        opened.append(breaker.failed(A, 32))
        breaker.succeeded(A, 1)
    assert opened[-1]


def test_once_the_smallest_that_failed_succeeds_the_row_is_over() -> None:
    breaker = CircuitBreaker()
    breaker.failed(A, 32)
    breaker.failed(A, 8)
    breaker.succeeded(A, 16)
    assert not breaker.failed(A, 32)


def test_programs_are_counted_apart() -> None:
    breaker = CircuitBreaker()
    assert not any(breaker.failed(each, 1) for each in (A, B, A, B))
    breaker.succeeded(B, 1)
    assert breaker.failed(A, 1)
