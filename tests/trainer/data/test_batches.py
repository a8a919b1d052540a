"""Order and augmentation are a pure function of seed and epoch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from downshift.trainer.data.batches import Batches, evaluation_batches
from downshift.trainer.data.dataset import Split
from downshift.trainer.data.normalisation import Normalisation

PLAIN = Normalisation((0.0,), (1.0,))
IMAGES = torch.arange(1, 10 * 6 * 6 + 1).remainder(251).to(torch.uint8).view(10, 6, 6, 1)
SPLIT = Split(IMAGES, torch.arange(10))


def batches(augment: str = "none", seed: int = 0) -> Batches:
    return Batches(SPLIT, batch_size=3, normalisation=PLAIN, augment=augment, seed=seed)  # type: ignore[arg-type]


def epoch(source: Batches, number: int, start: int = 0) -> tuple[Tensor, Tensor]:
    images, labels = zip(*source.epoch(number, start), strict=True)
    return torch.cat(images), torch.cat(labels)


def test_normalisation_by_hand() -> None:
    image = torch.tensor([[[[0, 255], [255, 51]]]], dtype=torch.uint8)
    out = Normalisation((0.5, 0.2), (0.25, 0.4))(image)
    assert out.shape == (1, 2, 1, 2)
    torch.testing.assert_close(out.flatten(), torch.tensor([-2.0, 2.0, 2.0, 0.0]))


@pytest.mark.parametrize("augment", ["none", "crop", "crop-flip"])
def test_an_epoch_can_start_again_at_any_batch(augment: str) -> None:
    whole, labels = epoch(batches(augment), 4)
    rest, rest_labels = epoch(batches(augment), 4, start=2)
    assert torch.equal(whole[6:], rest)
    assert torch.equal(labels[6:], rest_labels)


def test_epochs_and_seeds_differ_and_no_image_comes_twice() -> None:
    source = batches()
    assert len(source) == 3
    orders = [epoch(source, 0)[1], epoch(source, 1)[1], epoch(batches(seed=1), 0)[1]]
    assert all(len(set(order.tolist())) == 9 for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 3


def test_without_augmentation_images_stay_what_they_are() -> None:
    images, labels = epoch(batches(), 0)
    torch.testing.assert_close(images, PLAIN(SPLIT.images[labels]))


def test_a_crop_is_a_window_of_the_padded_image_and_half_of_them_are_mirrored() -> None:
    source = batches("crop-flip")
    padded = torch.nn.functional.pad(SPLIT.images, (0, 0, 4, 4, 4, 4))
    mirrored = seen = 0
    for number in range(10):
        images, labels = epoch(source, number)
        for image, label in zip((images * 255).round().to(torch.uint8), labels, strict=True):
            windows = padded[label, :, :, 0].unfold(0, 6, 1).unfold(1, 6, 1).reshape(-1, 6, 6)
            straight = (windows == image[0]).all(-1).all(-1).any()
            flipped = (windows == image[0].flip(1)).all(-1).all(-1).any()
            assert straight or flipped
            mirrored += bool(flipped and not straight)
            seen += 1
    assert 0.25 * seen < mirrored < 0.75 * seen


def test_held_out_images_come_in_order_and_all_of_them() -> None:
    images, labels = zip(*evaluation_batches(SPLIT, PLAIN), strict=True)
    assert torch.equal(torch.cat(labels), SPLIT.labels)
    torch.testing.assert_close(torch.cat(images), PLAIN(SPLIT.images))
