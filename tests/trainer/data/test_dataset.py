"""Splits, their division and their statistics."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from downshift.trainer.data.dataset import (
    Dataset,
    RawDataset,
    Split,
    channel_statistics,
    divide,
    validation_size,
)
from downshift.trainer.errors import DataError


def numbered(count: int) -> Split:
    """`count` two-channel images whose label and bytes are their own number."""
    numbers = torch.arange(count)
    images = torch.stack([numbers, 255 - numbers], 1).to(torch.uint8)[:, None, None, :]
    return Split(images.expand(count, 3, 4, 2), numbers)


def divided(count: int, validation: int, seed: int) -> Dataset:
    return divide(
        "numbers", RawDataset(("a",), numbered(count), numbered(7)), validation=validation, seed=seed
    )


def test_statistics_of_a_split_by_hand() -> None:
    images = torch.tensor([0, 255, 255, 255], dtype=torch.uint8).reshape(1, 2, 2, 1)
    mean, std = channel_statistics(images)
    assert mean == (0.75,)
    assert std == pytest.approx((3**0.5 / 4,))


def test_statistics_of_each_channel_agree_with_the_plain_formula() -> None:
    images = torch.randint(
        0, 256, (5, 6, 7, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    mean, std = channel_statistics(images)
    values = images.double() / 255
    assert mean == pytest.approx(values.mean((0, 1, 2)).tolist())
    assert std == pytest.approx(values.std((0, 1, 2), correction=0).tolist())


def test_a_constant_channel_is_refused() -> None:
    with pytest.raises(DataError, match="channel 1 of the training images has one value everywhere"):
        channel_statistics(torch.tensor([[[[1, 9], [2, 9]]]], dtype=torch.uint8))


@given(count=st.integers(3, 60), data=st.data(), seed=st.integers(0, 2**31))
def test_training_and_validation_images_are_a_partition_and_keep_their_labels(
    count: int, data: st.DataObject, seed: int
) -> None:
    validation = data.draw(st.integers(1, count - 2))
    dataset = divided(count, validation, seed)
    assert len(dataset.validation) == validation
    assert sorted(torch.cat([dataset.train.labels, dataset.validation.labels]).tolist()) == list(range(count))
    for split in (dataset.train, dataset.validation):
        assert torch.equal(split.images[:, 2, 3, 0].long(), split.labels)
    assert torch.equal(dataset.test.labels, torch.arange(7))


def test_the_seed_alone_draws_the_validation_images() -> None:
    torch.manual_seed(1)
    first = divided(50, 10, seed=3).validation.labels
    torch.manual_seed(2)
    assert torch.equal(first, divided(50, 10, seed=3).validation.labels)
    assert not torch.equal(first, divided(50, 10, seed=4).validation.labels)


def test_statistics_come_from_the_training_split_alone() -> None:
    dataset = divided(20, 5, seed=0)
    assert (dataset.mean, dataset.std) == channel_statistics(dataset.train.images)
    assert dataset.mean != channel_statistics(numbered(20).images)[0]


def test_the_shape_is_channels_height_width() -> None:
    assert divided(9, 2, seed=0).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("count", "wanted", "size"), [(50_000, 0, 5000), (25_000, 0, 5000), (1000, 0, 200), (1000, 7, 7)]
)
def test_five_thousand_images_validate_where_the_data_allow(count: int, wanted: int, size: int) -> None:
    assert validation_size("numbers", count, wanted) == size


@pytest.mark.parametrize("validation", [-1, 9, 10])
def test_a_validation_split_that_leaves_nothing_is_refused(validation: int) -> None:
    with pytest.raises(DataError, match=f"validation {validation}: numbers has 9 training images"):
        divided(9, validation, seed=0)
