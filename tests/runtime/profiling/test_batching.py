from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from downshift.runtime.profiling.batching import cheapest, sizes, worthwhile
from tests.runtime.doubles import profile

CHEAP = profile(marginal=0.5, tail=1.5)  # s50 10, 15, 25 ms for 1, 2, 4; s90 4, 6, 10 ms; s98 1, 1.5, 2.5 ms
LINEAR = profile(marginal=1.0)


def test_sizes_are_the_head_the_measured_ones_and_all_that_waits() -> None:
    assert sizes(1, 1, (1, 2, 4)) == [1]
    assert sizes(1, 3, (1, 2, 4)) == [1, 2, 3]
    assert sizes(3, 99, (1, 2, 4)) == [3, 4]
    assert sizes(9, 99, (1, 2, 4)) == [9]


def test_only_a_batch_that_makes_an_example_clearly_cheaper_is_worthwhile() -> None:
    assert [batch.size for batch in worthwhile(CHEAP["s50"], 1, 99, (1, 2, 4))] == [1, 2, 4]
    assert [batch.size for batch in worthwhile(LINEAR["s50"], 1, 99, (1, 2, 4))] == [1]
    last = worthwhile(CHEAP["s50"], 1, 99, (1, 2, 4))[-1]
    assert (last.subnet, last.typical, last.bound) == ("s50", 0.025, 1.5 * 0.025)


@given(st.integers(1, 9), st.integers(1, 20), st.floats(0.0001, 0.1))
def test_the_first_of_the_cheapest_that_fits_is_the_least_costly_of_all_that_do(
    head: int, queued: int, slack: float
) -> None:
    queued = max(head, queued)
    every = [
        (latency.typical(size) / size, latency.bound(size))
        for latency in CHEAP.subnets
        for size in sizes(head, queued, (1, 2, 4))
    ]
    fitting = [cost for cost, bound in every if bound <= slack]
    found = [b for b in cheapest(CHEAP.subnets, head, queued, (1, 2, 4)) if b.bound <= slack]
    assert bool(found) == bool(fitting)
    if fitting:
        assert found[0].cost == min(fitting)


def test_a_profile_makes_each_table_once() -> None:
    assert CHEAP.batches("s50", 1, 4) is CHEAP.batches("s50", 1, 400)
    assert CHEAP.cheapest(CHEAP.names, 1, 3) is CHEAP.cheapest(CHEAP.names, 1, 3)


def test_the_batch_size_that_a_rate_takes() -> None:
    """s98 answers 1000, 1333 and 1600 a second in batches of 1, 2 and 4."""
    assert [CHEAP.batch_for(rate) for rate in (0.0, 1000.0, 1001.0, 1400.0, 9999.0)] == [1, 1, 2, 4, 4]
    assert (CHEAP.enough, LINEAR.enough) == (4, 1)
