from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from downshift.runtime.scheduling.policy import Waiting
from downshift.runtime.scheduling.queue import EdfQueue


def waiting(deadline: float = math.inf, *, examples: int = 1, priority: int = 0) -> Waiting:
    return Waiting(0.0, deadline, examples, ("s50",), priority)


def drained(queue: EdfQueue[Waiting]) -> list[Waiting]:
    order = []
    while queue:
        order.append(queue.head)
        assert queue.remove(queue.head)
    return order


def test_the_earliest_deadline_comes_first_and_none_comes_last_in_order_of_arrival() -> None:
    queue: EdfQueue[Waiting] = EdfQueue()
    late, first_without, early, second_without = waiting(9.0), waiting(), waiting(3.0), waiting()
    for item in (late, first_without, early, second_without):
        queue.push(item)
    assert list(queue) == [early, late, first_without, second_without]
    assert drained(queue) == [early, late, first_without, second_without]


def test_priority_goes_before_deadline() -> None:
    queue: EdfQueue[Waiting] = EdfQueue()
    usual, urgent = waiting(1.0), waiting(50.0, priority=1)
    queue.push(usual)
    queue.push(urgent)
    assert list(queue) == [urgent, usual]


def test_only_the_first_to_remove_an_item_gets_it() -> None:
    queue: EdfQueue[Waiting] = EdfQueue()
    item, other = waiting(1.0), waiting(1.0)
    queue.push(item)
    queue.push(other)
    assert queue.remove(item)
    assert not queue.remove(item)
    assert list(queue) == [other]


def test_examples_are_counted_in_all_and_before_a_newcomer() -> None:
    queue: EdfQueue[Waiting] = EdfQueue()
    for item in (waiting(1.0, examples=2), waiting(2.0, examples=3), waiting(9.0, examples=5, priority=1)):
        queue.push(item)
    assert queue.examples == 10
    assert queue.examples_before(0.5, priority=0) == 5
    assert queue.examples_before(1.0, priority=0) == 7, "equal deadlines: the newcomer goes behind"
    assert queue.examples_before(math.inf, priority=0) == 10
    assert queue.examples_before(0.5, priority=2) == 0


def test_a_view_shows_the_queue_in_the_order_of_service() -> None:
    queue: EdfQueue[Waiting] = EdfQueue()
    late, early = waiting(9.0, examples=2), waiting(3.0)
    queue.push(late)
    queue.push(early)
    view = queue.view(2.5)
    assert (view.now, list(view.waiting), view.examples) == (2.5, [early, late], 3)


requests = st.builds(
    waiting,
    st.one_of(st.just(math.inf), st.integers(0, 5).map(float)),
    examples=st.integers(1, 4),
    priority=st.integers(-1, 1),
)


@given(st.lists(st.tuples(requests, st.booleans()), max_size=40), st.data())
def test_any_sequence_of_pushes_and_removals_leaves_a_sorted_queue(
    steps: list[tuple[Waiting, bool]], data: Any
) -> None:
    queue: EdfQueue[Waiting] = EdfQueue()
    expected: list[Waiting] = []
    for item, remove in steps:
        queue.push(item)
        expected.append(item)
        if remove:
            gone = data.draw(st.sampled_from(expected))
            assert queue.remove(gone)
            expected.remove(gone)
    expected.sort(key=lambda item: (-item.priority, item.deadline))  # stable: arrival decides between equals
    assert list(queue) == expected
    assert queue.examples == sum(item.examples for item in expected)
    assert drained(queue) == expected
    assert queue.examples == 0


def test_a_claim_takes_the_head_and_passes_over_what_may_not_join() -> None:
    queue: EdfQueue[Waiting] = EdfQueue()
    head, pinned, large, small = (
        waiting(1.0),
        Waiting(0.0, 2.0, 1, ("s90",)),
        waiting(3.0, examples=3),
        waiting(4.0),
    )
    for item in (head, pinned, large, small):
        queue.push(item)
    assert queue.claim("s50", 2) == [head, small]
    assert list(queue) == [pinned, large]
    assert queue.claim("s90", 1) == [pinned]
    assert queue.claim("s50", 1) == [large], "a head larger than the batch runs alone"
    assert (len(queue), queue.examples) == (0, 0)


@given(st.lists(requests, min_size=1, max_size=12), st.integers(1, 8))
def test_a_claim_never_overfills_a_batch_nor_loses_anyone(items: list[Waiting], most: int) -> None:
    queue: EdfQueue[Waiting] = EdfQueue()
    for item in items:
        queue.push(item)
    before = list(queue)
    claimed = queue.claim("s50", most)
    assert claimed[0] is before[0]
    assert sum(item.examples for item in claimed) <= max(most, claimed[0].examples)
    assert list(queue) == [item for item in before if item not in claimed]
    assert queue.examples == sum(item.examples for item in queue)
