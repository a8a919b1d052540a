"""One rule per pattern: nested masks that obey it, with exactly the sparsity that was asked for."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from downshift.models.pattern import Block, NByM, Pattern, Unstructured
from downshift.trainer.masks.rules import BlockRule, Goal, rule_of

BLOCKS = [Unstructured(), Block(4, 1), Block(1, 4), Block(4, 4), Block(3, 5)]
SHAPES = st.lists(
    st.tuples(st.integers(1, 13), st.integers(1, 13), *[st.integers(1, 3)] * 2)
    | st.tuples(st.integers(1, 13), st.integers(1, 13)),
    min_size=1,
    max_size=3,
)


def scores(shapes: list[tuple[int, ...]], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) for shape in shapes]


@settings(max_examples=40)
@given(
    shapes=SHAPES,
    block=st.sampled_from(BLOCKS),
    sparsities=st.lists(st.floats(0, 0.99), min_size=1, max_size=4).map(sorted),
    seed=st.integers(0, 99),
)
def test_blocks_are_whole_nested_and_exact_to_half_a_block_also_with_smaller_ones_at_the_edges(
    shapes: list[tuple[int, ...]], block: Unstructured | Block, sparsities: list[float], seed: int
) -> None:
    layers = scores(shapes, seed)
    total, size = sum(one.numel() for one in layers), block.rows * block.columns
    found = rule_of(block).kept(layers, [Goal(s, 1.0, None) for s in sparsities])
    for masks, sparsity in zip(found, sparsities, strict=True):
        assert all(block.holds(mask.numpy()) for mask in masks)
        kept = sum(int(mask.sum()) for mask in masks)
        assert abs(kept - total * (1 - sparsity)) <= size / 2 + 0.5
    for denser, sparser in pairwise(found):
        assert not any(bool((s & ~d).any()) for d, s in zip(denser, sparser, strict=True))


@settings(max_examples=40)
@given(shapes=SHAPES, block=st.sampled_from(BLOCKS), density=st.floats(0, 1), seed=st.integers(0, 99))
def test_each_layer_keeps_its_own_density_to_half_a_block(
    shapes: list[tuple[int, ...]], block: Unstructured | Block, density: float, seed: int
) -> None:
    layers = scores(shapes, seed)
    (masks,) = rule_of(block).kept(layers, [Goal(1 - density, 1.0, (density,) * len(layers))])
    for mask in masks:
        assert abs(int(mask.sum()) - density * mask.numel()) <= block.rows * block.columns / 2 + 0.5


@settings(max_examples=40)
@given(shapes=SHAPES, block=st.sampled_from(BLOCKS), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_whole_blocks_change_places_and_their_number_stays(
    shapes: list[tuple[int, ...]], block: Unstructured | Block, share: float, seed: int
) -> None:
    layers = scores(shapes, seed)
    (masks,) = BlockRule(block).nested(layers, [[0.4] * len(layers)])
    traded = rule_of(block).traded(masks, layers, scores(shapes, seed + 1), share)
    for before, after in zip(masks, traded, strict=True):
        assert block.holds(after.numpy())
        difference = abs(int(before.sum()) - int(after.sum()))
        outputs, inputs, *_ = before.shape
        assert difference == 0 or outputs % block.rows or inputs % block.columns


def test_n_of_m_prunes_its_groups_as_the_ramp_goes_on() -> None:
    layers, pattern = scores([(4, 8, 3, 3)], 0), NByM(1, 4)
    none, half, whole = rule_of(pattern).kept(
        layers, [Goal(0.75, progress, None) for progress in (0, 0.5, 1)]
    )
    assert none[0].all()
    assert not pattern.holds(half[0].numpy())
    assert half[0].float().mean().item() == pytest.approx(1 - 0.75 / 2, abs=0.02)
    assert pattern.holds(whole[0].numpy())


@pytest.mark.parametrize("kind", get_args(Pattern))
def test_every_pattern_has_a_rule(kind: type[Pattern]) -> None:
    pattern = {NByM: NByM(2, 4), Block: Block(1, 4)}.get(kind) or kind()
    assert rule_of(pattern, groups=[(0, (1,))])
