"""Mixed batches: what is mixed, and that the labels say how much."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from downshift.trainer.data.mixing import mixing

CLASSES = 5


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Image i is i everywhere, and of class i."""
    return torch.arange(4.0).view(-1, 1, 1, 1).expand(4, 3, 8, 8).clone(), torch.arange(4)


def test_without_mixing_the_batch_is_left_alone() -> None:
    images, labels = batch()
    mixed = mixing("none", CLASSES)(images, labels)
    assert mixed[0] is images
    assert mixed[1] is labels


@pytest.mark.parametrize("kind", ["mixup", "cutmix", "mixup-cutmix"])
def test_labels_are_the_shares_of_the_images_in_it(kind: Any) -> None:
    torch.manual_seed(0)
    mix = mixing(kind, CLASSES)
    for _ in range(5):
        images, labels = mix(*batch())
        assert images.shape == (4, 3, 8, 8)
        assert labels.shape == (4, CLASSES)
        torch.testing.assert_close(labels.sum(1), torch.ones(4))
        shares = labels @ torch.arange(5.0)  # the mean of what each image is made of
        torch.testing.assert_close(images.mean((1, 2, 3)), shares, rtol=0, atol=1e-4)


def test_the_same_state_of_torchs_generator_mixes_alike() -> None:
    mix = mixing("mixup-cutmix", CLASSES)
    state = torch.get_rng_state()
    first = mix(*batch())
    torch.set_rng_state(state)
    second = mix(*batch())
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
