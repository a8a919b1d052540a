"""Mask updates: scores in, masks out."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from downshift.trainer.masks.pruning import drop_and_grow, keep_nested, n_by_m, trade_in_groups

if TYPE_CHECKING:
    from torch import Tensor

SCORES = st.lists(st.lists(st.floats(0, 8, width=16), min_size=1, max_size=12), min_size=1, max_size=4)


def bits(mask: Tensor) -> Any:
    """The mask as nested lists of 0 and 1."""
    return mask.int().tolist()


def test_the_largest_scores_of_all_layers_together_are_kept() -> None:
    (dense, sparse) = keep_nested([tensor([5.0, 1.0, 3.0]), tensor([4.0, 2.0])], [4, 2])
    assert [bits(layer) for layer in dense] == [[1, 0, 1], [1, 1]]
    assert [bits(layer) for layer in sparse] == [[1, 0, 0], [1, 0]]


def test_ties_keep_the_earlier_weight() -> None:
    assert bits(keep_nested([tensor([1.0, 1.0, 1.0])], [2])[0][0]) == [1, 1, 0]


@given(SCORES, st.lists(st.integers(-2, 60), min_size=1, max_size=5))
def test_counts_are_exact_and_smaller_ones_are_subsets(scores: list[list[float]], counts: list[int]) -> None:
    layers = [tensor(layer) for layer in scores]
    total = sum(len(layer) for layer in scores)
    counts = sorted(counts, reverse=True)
    flat = [torch.cat(masks) for masks in keep_nested(layers, counts)]
    assert [int(mask.sum()) for mask in flat] == [min(max(count, 0), total) for count in counts]
    for denser, sparser in itertools.pairwise(flat):
        assert not (sparser & ~denser).any()
    kept, values = flat[0], torch.cat(layers)
    if kept.any() and not kept.all():
        assert values[kept].min() >= values[~kept].max()


def test_scores_that_count_more_than_one_come_nearest_to_the_count() -> None:
    scores, sizes = [tensor([5.0, 1.0]), tensor([4.0])], [tensor([4, 4]), tensor([1])]
    kept = [bits(torch.cat(masks)) for masks in keep_nested(scores, [9, 7, 6, 5, 2, 1], sizes)]
    assert kept == [[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 0, 1], [1, 0, 0], [0, 0, 0]]


def test_a_never_active_weight_with_the_largest_dense_gradient_is_regrown() -> None:
    mask = tensor([True, True, True, False, False])
    magnitude = tensor([3.0, 1.0, 2.0, 0.0, 0.0])
    gradient = tensor([9.0, 9.0, 9.0, 0.1, -0.5])
    (new,) = drop_and_grow([mask], [magnitude], [gradient], 0.34)
    assert bits(new) == [1, 0, 1, 0, 1]


def test_a_weight_dropped_now_does_not_come_back_in_the_same_update() -> None:
    mask = tensor([True, True, False])
    (new,) = drop_and_grow([mask], [tensor([1.0, 2.0, 0.0])], [tensor([100.0, 0.0, 0.001])], 0.5)
    assert bits(new) == [0, 1, 1]


def test_a_layer_at_zero_non_zeros_stays_empty() -> None:
    empty = torch.zeros(4, dtype=torch.bool)
    (new,) = drop_and_grow([empty], [torch.rand(4)], [torch.rand(4)], 1.0)
    assert not new.any()


def test_a_full_layer_trades_nothing() -> None:
    full = torch.ones(4, dtype=torch.bool)
    (new,) = drop_and_grow([full], [torch.rand(4)], [torch.rand(4)], 0.5)
    assert new.all()


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.floats(0, 1), st.integers(0, 99))
def test_trading_keeps_the_count_of_every_layer(active: list[bool], fraction: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = tensor(active)
    size, pull = (torch.rand(len(active), generator=generator) for _ in range(2))
    (new,) = drop_and_grow([mask], [size], [pull], fraction)
    assert int(new.sum()) == int(mask.sum())
    trade = min(int(fraction * sum(active)), len(active) - sum(active))
    assert int((new & ~mask).sum()) == trade


def test_n_of_m_keeps_the_largest_of_every_group() -> None:
    score = tensor([[1.0, 4.0, 3.0, 2.0, 8.0, 7.0, 6.0, 5.0]])
    assert bits(n_by_m(score, 2, 4)) == [[0, 1, 1, 0, 1, 1, 0, 0]]
    assert bits(n_by_m(score, 1, 8)) == [[0, 0, 0, 0, 1, 0, 0, 0]]


def test_the_groups_that_lose_least_are_pruned_first_and_the_important_ones_stay_whole() -> None:
    """Not the first groups, and not the most important ones: the second loses 0.2, the others 2 and 20."""
    score = tensor([[9.0, 8.0, 1.0, 1.0, 9.0, 8.0, 0.1, 0.1, 90.0, 80.0, 10.0, 10.0]])
    assert bits(n_by_m(score, 2, 4, share=1 / 3)) == [[1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1]]
    assert bits(n_by_m(score, 2, 4, share=2 / 3)) == [[1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1]]
    assert n_by_m(score, 2, 4, share=0.0).all()


def test_groups_pruned_before_are_pruned_again_before_any_other() -> None:
    """Scores outside the mask are -1: a group that lost its weights already loses less than nothing."""
    score = tensor([[9.0, 8.0, -1.0, -1.0, 9.0, 8.0, 0.0, 0.0]])
    assert bits(n_by_m(score, 2, 4, share=0.5)) == [[1, 1, 0, 0, 1, 1, 1, 1]]


def test_a_shorter_last_group_keeps_at_most_n() -> None:
    assert bits(n_by_m(tensor([[1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0]]), 2, 4)) == [[0, 0, 1, 1, 1, 1, 0]]
    assert bits(n_by_m(tensor([[1.0]]), 2, 4)) == [[1]]


@given(st.integers(1, 5), st.integers(1, 20), st.integers(2, 8), st.data())
def test_no_group_ever_holds_more_than_n_once_all_are_pruned(
    rows: int, inputs: int, m: int, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, m - 1))
    score = torch.rand(rows, inputs, generator=torch.Generator().manual_seed(rows * inputs))
    mask = n_by_m(score, n, m)
    assert mask.shape == score.shape
    for start in range(0, inputs, m):
        group = mask[:, start : start + m]
        assert (group.sum(1) == min(n, group.shape[1])).all()


def test_groups_trade_their_weakest_for_the_strongest_pull() -> None:
    mask = tensor([[1, 1, 0, 0, 1, 1, 0, 0]], dtype=torch.bool)
    magnitude = tensor([[5.0, 1.0, 0.0, 0.0, 2.0, 6.0, 0.0, 0.0]])
    gradient = tensor([[9.0, 9.0, 0.2, 0.1, 9.0, 9.0, 0.3, -0.9]])
    assert bits(trade_in_groups(mask, magnitude, gradient, 4, 0.5)) == [[1, 1, 0, 0, 0, 1, 0, 1]]
    assert bits(trade_in_groups(mask, magnitude, gradient, 4, 1.0)) == [[1, 0, 1, 0, 0, 1, 0, 1]]


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_trading_in_groups_leaves_whole_empty_and_incomplete_groups_alone(fraction: float) -> None:
    mask = tensor([[1, 1, 1, 1, 0, 0, 0, 0, 1, 0]], dtype=torch.bool)
    assert torch.equal(trade_in_groups(mask, torch.rand(1, 10), torch.rand(1, 10), 4, fraction), mask)
