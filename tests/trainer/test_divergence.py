"""Losses are remembered until looked at, and the first that is not finite is found."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from downshift.trainer.divergence import CHECK_EVERY, LossHistory, first_not_finite, owner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

NAN, INF = math.nan, math.inf


def alone(tensors: Sequence[Tensor]) -> None:
    """The mean over one worker."""


def history(*sums: tuple[float, ...]) -> LossHistory:
    made = LossHistory(len(sums[0]), torch.device("cpu"))
    for losses in sums:
        made.add(torch.tensor(losses))
    return made


def test_finite_losses_are_nothing_to_report() -> None:
    assert history((1.0, 0.0), (1.0, 2.0)).first_not_finite(alone) is None


def test_the_first_step_and_its_sub_net_are_found_though_the_sums_stay_bad() -> None:
    found = history((1.0, 0.0), (1.0, INF), (NAN, INF), (NAN, NAN)).first_not_finite(alone)
    assert found == (2, 1, INF)


def test_a_look_forgets_what_it_saw() -> None:
    losses = history((NAN,))
    assert losses.first_not_finite(alone) is not None
    losses.add(torch.tensor([1.0]))
    assert losses.first_not_finite(alone) is None


def test_a_look_is_due_when_no_further_step_fits() -> None:
    losses = history(*[(1.0,)] * (CHECK_EVERY - 1))
    assert not losses.full
    losses.add(torch.tensor([1.0]))
    assert losses.full


def test_all_workers_see_a_loss_that_is_bad_on_one() -> None:
    def with_a_bad_neighbour(tensors: Sequence[Tensor]) -> None:
        tensors[0][1, 0] = NAN

    found = history((1.0,), (2.0,), (3.0,)).first_not_finite(with_a_bad_neighbour)
    assert found is not None
    assert found[:2] == (1, 0)


def test_the_first_tensor_that_is_not_finite_is_named() -> None:
    fine, bad = torch.ones(3), torch.tensor([0.0, INF])
    assert first_not_finite({"a": fine, "levels": torch.ones(2, dtype=torch.uint8)}) is None
    assert first_not_finite({"a": fine, "b": bad, "c": bad}) == "b"
    assert first_not_finite({}) is None


def test_a_switchable_batchnorm_belongs_to_one_sub_net() -> None:
    assert owner("network.blocks.0.norm1.norms.2.running_var") == 2
    assert owner("velocity of network.norms.11.weight") == 11
    assert owner("network.stem.weight") is None
