"""The oracle itself, on numbers small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from downshift.runtime.lowering.graph import (
    Activation,
    AveragePool,
    ChannelAffine,
    Conv,
    Graph,
    MaxPool,
    Operation,
    Padding,
    Shape,
    Stride,
)
from downshift.runtime.lowering.reference import activate, run

NONE = Padding(0, 0, 0, 0)
ROW = np.array([[[[1.0, 2.0, 4.0]]]], np.float32)


def only(operation: Operation, image: Shape, output: Shape) -> Graph:
    return Graph((operation,), (image, output), 1)


def test_a_convolution_is_a_correlation_with_zeros_outside() -> None:
    weight = np.array([[[[10, 1, 100]]]], np.float32)
    conv = Conv(1, 0, weight, np.array([0.5], np.float32), Stride(1, 1), Padding(0, 1, 0, 1))
    answer = run(only(conv, (1, 1, 3), (1, 1, 3)), ROW)
    np.testing.assert_array_equal(answer, [[[[201.5, 412.5, 24.5]]]])


def test_groups_see_their_own_channels() -> None:
    weight = np.array([2, 3], np.float32).reshape(2, 1, 1, 1)
    conv = Conv(1, 0, weight, np.zeros(2, np.float32), Stride(1, 1), NONE, groups=2)
    images = np.array([5, 7], np.float32).reshape(1, 2, 1, 1)
    assert run(only(conv, (2, 1, 1), (2, 1, 1)), images).reshape(-1).tolist() == [10, 21]


def test_the_residual_comes_before_the_activation() -> None:
    weight = np.array([-2], np.float32).reshape(1, 1, 1, 1)
    conv = Conv(1, 0, weight, np.zeros(1, np.float32), Stride(1, 1), NONE, 1, Activation.RELU, residual=0)
    assert not run(only(conv, (1, 1, 3), (1, 1, 3)), ROW).any()


def test_padding_never_wins_a_maximum_and_counts_in_a_mean_only_when_asked() -> None:
    stride, padding = Stride(1, 2), Padding(0, 1, 0, 1)
    assert run(only(MaxPool(1, 0, (1, 2), stride, padding), (1, 1, 3), (1, 1, 2)), -ROW).tolist() == [
        [[[-1.0, -2.0]]]
    ]
    counted, inside = (
        run(only(AveragePool(1, 0, (1, 2), stride, padding, flag), (1, 1, 3), (1, 1, 2)), ROW).tolist()
        for flag in (True, False)
    )
    assert counted == [[[[0.5, 3.0]]]]
    assert inside == [[[[1.0, 3.0]]]]


def test_an_affine_map_works_on_rows_too() -> None:
    affine = ChannelAffine(1, 0, np.array([2, 3], np.float32), np.array([1, 0], np.float32))
    assert run(Graph((affine,), ((2,), (2,)), 1), np.array([[5, 7]], np.float32)).tolist() == [[11, 21]]


def test_sums_are_kept_in_double_precision() -> None:
    weight = np.ones((1, 3, 1, 1), np.float32)
    conv = Conv(1, 0, weight, np.zeros(1, np.float32), Stride(1, 1), NONE)
    images = np.array([2.0**30, 1.0, -(2.0**30)], np.float32).reshape(1, 3, 1, 1)
    assert run(only(conv, (3, 1, 1), (1, 1, 1)), images).item() == 1.0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Activation.NONE, [-4, 0, 2, 8]),
        (Activation.RELU, [0, 0, 2, 8]),
        (Activation.RELU6, [0, 0, 2, 6]),
        (Activation.HARD_SIGMOID, [0, 0.5, 5 / 6, 1]),
        (Activation.HARD_SWISH, [0, 0, 5 / 3, 8]),
        (Activation.SIGMOID, [1 / (1 + np.exp(4.0)), 0.5, 1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(-8.0))]),
        (Activation.SILU, [-4 / (1 + np.exp(4.0)), 0, 2 / (1 + np.exp(-2.0)), 8 / (1 + np.exp(-8.0))]),
    ],
)
def test_activations(kind: Activation, expected: list[float]) -> None:
    np.testing.assert_allclose(activate(np.array([-4.0, 0, 2, 8]), kind), expected, rtol=1e-14)


def test_a_sigmoid_far_out_does_not_overflow() -> None:
    np.testing.assert_array_equal(activate(np.array([-1e4, 1e4]), Activation.SIGMOID), [0, 1])
