"""scikit-learn's digits: 1,797 images of 8 x 8 pixels that need no download."""

from __future__ import annotations

import torch

from downshift.trainer.data.dataset import RawDataset, Split
from downshift.trainer.errors import DataError

_TEST_EVERY = 5


def read(*, test: str) -> RawDataset:
    """The data set; it has no test split of its own, so every fifth image is one (359 of 1,797).

    Grey levels 0 to 16 are scaled to bytes 0 to 255.
    """
    if test != "official":
        raise DataError(f"test {test!r}: the test split of digits is 'official'")
    from sklearn.datasets import load_digits  # noqa: PLC0415 - a slow import for this data set alone

    digits = load_digits()
    images = (torch.from_numpy(digits.images) * (255 / 16)).round().to(torch.uint8)[..., None]
    everything = Split(images, torch.from_numpy(digits.target).long())
    tests = torch.arange(len(everything)) % _TEST_EVERY == _TEST_EVERY - 1
    return RawDataset(
        labels=tuple(map(str, digits.target_names)),
        train=everything.take((~tests).nonzero().flatten()),
        test=everything.take(tests.nonzero().flatten()),
    )
