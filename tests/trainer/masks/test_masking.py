"""The schedule applied to the weights: masks of a supernet in training."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch

from downshift.models.pattern import Block
from downshift.trainer.errors import RecipeError
from downshift.trainer.masks.masking import Masking, MaskPlan
from tests.trainer.small import small_recipe, small_supernet

if TYPE_CHECKING:
    from torch import Tensor

    from downshift.models.supernet import Supernet

STEPS = 1000
END = 650


def masked(supernet: Supernet, **sections: dict[str, Any]) -> Masking:
    sections.setdefault("masks", {"form": "nested" if supernet.encoding == "levels" else "independent"})
    return Masking(supernet, MaskPlan.of(small_recipe(**sections), STEPS))


def random_gradients(masking: Masking, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(layer.weight.shape, generator=generator) for layer in masking.layers]


def flat(masking: Masking, index: int) -> Tensor:
    return torch.cat([mask.flatten() for mask in masking.masks()[index]])


@pytest.mark.parametrize("allocation", ["global", "erk", "uniform"])
def test_nested_masks_shrink_and_hold_exactly_what_their_sparsity_says(allocation: str) -> None:
    masking = masked(
        small_supernet(3), subnets={"sparsities": [0.5, 0.8, 0.95]}, masks={"allocation": allocation}
    )
    total = flat(masking, 0).numel()
    for step in (100, 300, 500, END, 700):
        masking.update(step, 0, random_gradients(masking, step))
        masks = [flat(masking, index) for index in range(3)]
        for denser, sparser in pairwise(masks):
            assert not (sparser & ~denser).any()
        for index, mask in enumerate(masks):
            wanted = total * (1 - masking.plan.ramps[index].sparsity(step))
            assert int(mask.sum()) == pytest.approx(wanted, abs=1 if allocation == "global" else 9)


def test_only_the_sub_net_that_is_due_changes_its_independent_mask() -> None:
    masking = masked(small_supernet(2, "bitmaps"))
    masking.update(END, 1, random_gradients(masking))
    assert flat(masking, 0).all()
    assert flat(masking, 1).float().mean().item() == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize("encoding", ["levels", "bitmaps"])
def test_a_never_active_weight_with_the_largest_dense_gradient_is_regrown_from_zero(encoding: Any) -> None:
    supernet = small_supernet(1, encoding)
    masking = masked(
        supernet,
        subnets={"sparsities": [0.5]},
        masks={
            "form": "nested" if encoding == "levels" else "independent",
            "start": 0.0,
            "end": 0.0,
            "stop": 0.9,
        },
    )
    layer = masking.layers[0]
    never = torch.ones_like(layer.weight, dtype=torch.bool)
    never.view(-1)[0] = False
    layer.stack.assign([never])
    with torch.no_grad():
        layer.weight.view(-1)[0] = 123.0
    gradients = [torch.zeros_like(g) for g in random_gradients(masking)]
    gradients[0].view(-1)[0] = -1.0
    masking.update(100, 0, gradients)
    assert layer.stack.mask(0).view(-1)[0]
    assert layer.weight.view(-1)[0] == 0.0, "it starts from zero, not from what it was before"


@pytest.mark.parametrize("allocation", ["global", "erk"])
def test_a_weight_that_returns_ranks_by_what_it_is_now(allocation: str) -> None:
    """It was large when it left all sub-nets; it returns as zero, so the sparser ones do not take it."""
    masking = masked(
        small_supernet(2),
        subnets={"sparsities": [0.5, 0.9]},
        masks={"start": 0.0, "end": 0.0, "stop": 0.9, "allocation": allocation},
    )
    masking.update(100, 0, [torch.zeros_like(g) for g in random_gradients(masking)])
    at, layer = next((i, m) for i, m in enumerate(masking.layers) if not m.stack.mask(0).all())
    gone = int((~layer.stack.mask(0)).flatten().nonzero()[0])
    with torch.no_grad():
        layer.weight.view(-1)[gone] = 123.0
    gradients = [torch.zeros_like(g) for g in random_gradients(masking)]
    gradients[at].view(-1)[gone] = 1e3
    entered = masking.update(200, 0, gradients)
    assert layer.stack.mask(0).view(-1)[gone]
    assert not layer.stack.mask(1).view(-1)[gone]
    assert layer.weight.view(-1)[gone] == 0.0
    assert entered[at].view(-1)[gone]
    assert all(
        torch.equal(e, e & layer.stack.mask(0)) for e, layer in zip(entered, masking.layers, strict=True)
    )


def test_with_independent_masks_a_weight_that_another_sub_net_holds_keeps_its_value() -> None:
    masking = masked(
        small_supernet(2, "bitmaps"),
        subnets={"sparsities": [0.5, 0.9]},
        masks={"form": "independent", "start": 0.0, "end": 0.0, "stop": 0.9},
    )
    layer = masking.layers[0]
    masking.update(100, 1, random_gradients(masking))
    only_dense = int((layer.stack.mask(0) & ~layer.stack.mask(1)).flatten().nonzero()[0])
    value = layer.weight.view(-1)[only_dense].item()
    gradients = [torch.zeros_like(g) for g in random_gradients(masking)]
    gradients[0].view(-1)[only_dense] = 1e3
    entered = masking.update(200, 1, gradients)
    assert layer.stack.mask(1).view(-1)[only_dense]
    assert layer.weight.view(-1)[only_dense] == value != 0.0
    assert not entered[0].view(-1)[only_dense], "its velocity is the dense sub-net's, which goes on"


def test_nothing_is_regrown_at_the_last_update() -> None:
    masking = masked(small_supernet(1), subnets={"sparsities": [0.5]})
    magnitudes = torch.cat([layer.weight.detach().abs().flatten() for layer in masking.layers])
    masking.update(750, 0, random_gradients(masking))
    kept = flat(masking, 0)
    assert magnitudes[kept].min() >= magnitudes[~kept].max()


def test_a_layer_that_reaches_zero_non_zeros_stays_empty() -> None:
    masking = masked(small_supernet(1), subnets={"sparsities": [0.5]})
    with torch.no_grad():
        masking.layers[0].weight.mul_(1e-9)
    for step in (400, 500, END):
        masking.update(step, 0, random_gradients(masking, step))
    masking.layers[0].stack.assign([torch.zeros_like(masking.layers[0].weight, dtype=torch.bool)])
    masking.update(700, 0, random_gradients(masking, 7))
    assert not masking.masks()[0][0].any()


@pytest.mark.parametrize("encoding", ["levels", "bitmaps"])
def test_n_of_m_sub_nets_end_with_n_of_every_m_input_channels(encoding: Any) -> None:
    supernet = small_supernet(3, encoding)
    masking = masked(supernet, subnets={"patterns": ["2:4", "1:4", "1:8"]})
    for step in (300, 500, END, 760):
        for index in range(1 if encoding == "levels" else 3):
            masking.update(step, index, random_gradients(masking, step + index))
    for index, (n, m) in enumerate(((2, 4), (1, 4), (1, 8))):
        for layer, mask in zip(masking.layers, masking.masks()[index], strict=True):
            inputs = layer.weight.shape[1]
            for start in range(0, inputs, m):
                assert (mask[:, start : start + m].sum(1) <= n).all()
                if encoding == "bitmaps":
                    assert (mask[:, start : start + m].sum(1) == n).all()


@pytest.mark.parametrize("encoding", ["levels", "bitmaps"])
def test_what_n_of_m_regrew_survives_the_next_switch_and_update(encoding: Any) -> None:
    masking = masked(
        small_supernet(2, encoding),
        subnets={"patterns": ["2:4", "1:4"]},
        masks={
            "form": "nested" if encoding == "levels" else "independent",
            "start": 0.0,
            "end": 0.0,
            "regrow": 1.0,
            "stop": 0.9,
        },
    )
    masking.update(890, 0, random_gradients(masking))
    first = [mask.clone() for mask in masking.masks()[0]]
    masking.update(5, 0, random_gradients(masking, 1))
    grown = [now & ~before for now, before in zip(masking.masks()[0], first, strict=True)]
    assert sum(int(g.sum()) for g in grown) > 0
    second = [mask.clone() for mask in masking.masks()[0]]
    if encoding == "bitmaps":
        masking.update(880, 1, random_gradients(masking, 2))
    masking.update(900, 0, random_gradients(masking, 3))  # prunes by magnitude alone
    for now, before in zip(masking.masks()[0], second, strict=True):
        assert torch.equal(now, before)


@pytest.mark.parametrize("encoding", ["levels", "bitmaps"])
@pytest.mark.parametrize("allocation", ["global", "erk"])
@pytest.mark.parametrize("block", [Block(4, 1), Block(1, 4), Block(4, 4)])
def test_blocks_live_and_die_whole_and_stay_nested(encoding: Any, allocation: str, block: Block) -> None:
    supernet = small_supernet(3, encoding)
    form = "nested" if encoding == "levels" else "independent"
    masking = masked(
        supernet,
        subnets={"sparsities": [0.5, 0.8, 0.95], "block": str(block)},
        masks={"form": form, "allocation": allocation, "initial_sparsity": 0.2},
    )
    for step in (100, 300, 500, END, 700):
        for index in range(1 if encoding == "levels" else 3):
            masking.update(step, index, random_gradients(masking, step + index))
    total = flat(masking, 0).numel()
    for index, sparsity in enumerate((0.5, 0.8, 0.95)):
        layers, size = len(masking.layers), block.rows * block.columns
        exact = total * (1 - sparsity)
        assert abs(int(flat(masking, index).sum()) - exact) <= size * (
            1 if allocation == "global" else layers
        )
        for mask in masking.masks()[index]:
            assert block.holds(mask.numpy())
    if encoding == "levels":
        for denser, sparser in pairwise(flat(masking, index) for index in range(3)):
            assert not (sparser & ~denser).any()


def test_a_block_is_worth_the_sum_of_its_weights() -> None:
    supernet = small_supernet(1)
    masking = masked(supernet, subnets={"sparsities": [0.5], "block": "block 4x1"})
    layer = masking.layers[0]
    with torch.no_grad():
        layer.weight.fill_(0.01)
        layer.weight[:4, 0, 0, 0] = 100.0
        layer.weight[0, 0, 1, 1] = -200.0  # alone in its block, but half of the sum above
        for other in masking.layers[1:]:
            other.weight.fill_(1.0)
    masking.update(750, 0, random_gradients(masking))
    mask = masking.masks()[0][0]
    assert mask[:4, 0, 0, 0].all()
    assert mask[:4, 0, 1, 1].all()
    assert int(mask.sum()) == 8


def test_starting_sparse_follows_erk() -> None:
    masking = masked(small_supernet(1), subnets={"sparsities": [0.9]}, masks={"initial_sparsity": 0.6})
    assert 1 - flat(masking, 0).float().mean().item() == pytest.approx(0.6, abs=0.01)
    densities = [mask.float().mean().item() for mask in masking.masks()[0]]
    assert max(densities) > 1.5 * min(densities)


def test_nested_masks_are_due_with_the_densest_alone() -> None:
    masking = masked(small_supernet(2), masks={"interval": 100})
    assert masking.due(100, 0, 1)
    assert not masking.due(100, 1, 1)
    assert masked(small_supernet(2, "bitmaps"), masks={"form": "independent", "interval": 100}).due(100, 1, 1)


def test_a_run_too_short_for_its_last_update_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"20 steps: the last mask update would fall on step 22; raise"):
        MaskPlan.of(small_recipe(masks={"stop": 1.0}), 20)
