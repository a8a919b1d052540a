"""Accuracy of a program on labelled images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from downshift.models.spec import InputSpec
from downshift.runtime.profiling.accuracy import BATCH, top1

if TYPE_CHECKING:
    from downshift.runtime.request import FloatArray

PLAIN = InputSpec("image", 1, 1, 2, (0.0,), (1.0,))


class Brightest:
    """Scores a class by the brightness of its pixel or channel; remembers its inputs."""

    engine = "by hand"

    def __init__(self) -> None:
        self.batches: list[FloatArray] = []

    def run(self, batch: FloatArray, /) -> FloatArray:
        self.batches.append(batch)
        return batch.reshape(len(batch), -1)


def test_the_share_of_images_put_into_their_class() -> None:
    images = np.array([[9, 1], [1, 9], [9, 1], [9, 1]], np.uint8).reshape(4, 1, 2, 1)
    assert top1(Brightest(), images, np.array([0, 1, 1, 0]), PLAIN) == 0.75


def test_programs_get_contiguous_normalised_float32_in_channels_first_order() -> None:
    program = Brightest()
    spec = InputSpec("image", 1, 1, 2, (0.5,), (0.25,))
    top1(program, np.array([[0, 255]], np.uint8).reshape(1, 1, 2, 1), np.array([1]), spec)
    (batch,) = program.batches
    assert batch.shape == (1, 1, 1, 2)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    assert batch.ravel().tolist() == [-2.0, 2.0]


def test_each_channel_is_normalised_by_its_own_mean_and_deviation() -> None:
    program = Brightest()
    spec = InputSpec("image", 3, 1, 1, (0.0, 0.5, 1.0), (1.0, 0.5, 2.0))
    pixel = np.array([255, 255, 255], np.uint8).reshape(1, 1, 1, 3)
    top1(program, pixel, np.array([0]), spec)
    assert program.batches[0].ravel().tolist() == [1.0, 1.0, 0.0]


def test_images_beyond_one_batch_count_too() -> None:
    count = 2 * BATCH + 1
    images = np.tile(np.array([9, 1], np.uint8), count).reshape(count, 1, 2, 1)
    labels = np.zeros(count, np.int64)
    labels[-1] = 1
    program = Brightest()
    assert top1(program, images, labels, PLAIN) == (count - 1) / count
    assert [len(batch) for batch in program.batches] == [BATCH, BATCH, 1]
