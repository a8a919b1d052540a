"""Class weights give every class the same say."""

from __future__ import annotations

import pytest
import torch

from downshift.trainer.data.balance import class_weights


def test_weights_are_inverse_to_the_counts_and_one_on_average_over_images() -> None:
    counts = torch.tensor([30, 10, 20])
    weights = class_weights(counts)
    assert (weights * counts).tolist() == pytest.approx([20.0] * 3)
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1.0)


def test_equal_counts_weigh_one_and_an_absent_class_is_no_division_by_zero() -> None:
    assert class_weights(torch.tensor([7, 7])).tolist() == [1.0, 1.0]
    assert torch.isfinite(class_weights(torch.tensor([7, 0]))).all()
