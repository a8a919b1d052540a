"""Quantisation: scales, zero points, and the integer reference against the float network and onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering import integer_reference, reference
from downshift.runtime.lowering.emit_qdq import emit_qdq
from downshift.runtime.lowering.integer import integer
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.quantize import affine_of, quantize, quantized_weight
from tests.runtime.quantized import ranges_of
from tests.runtime.small_onnx import normal, residual_network, small_model


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero"),
    [
        (0.0, 255.0, 1.0, 0),
        (-128.0, 127.0, 1.0, 128),
        (10.0, 510.0, 2.0, 0),  # zero is always representable
        (-51.0, -10.0, 0.2, 255),
        (0.0, 0.0, 1.0, 0),
    ],
)
def test_a_range_becomes_a_scale_and_a_zero_point(low: float, high: float, scale: float, zero: int) -> None:
    affine = affine_of(low, high)
    assert (affine.scale, affine.zero) == (pytest.approx(scale), zero)


def test_every_output_channel_of_a_weight_has_its_own_scale_and_an_empty_one_is_zero() -> None:
    weight = np.array([[[[1.27]], [[-0.635]]], [[[0.0]], [[0.0]]]], np.float32)
    made = quantized_weight(weight)
    assert made.scale.tolist() == pytest.approx([0.01, 1.0])
    assert made.values.reshape(2, 2).tolist() == [[127, -64], [0, 0]]


def test_qdq_on_onnxruntime_is_near_the_float_network_and_the_kernels() -> None:
    model, images = residual_network(16, (16, 16)), normal(8, 3, 16, 16, seed=9)
    ranges = ranges_of(lower(model), images)
    exact = reference.run(lower(model), images)
    qdq = emit_qdq(quantize(lower(model), ranges))
    onnx.checker.check_model(qdq, full_check=True)
    session = onnxruntime.InferenceSession(qdq.SerializeToString(), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"input": images})
    kernels = integer_reference.run(integer(lower(model), ranges), images)
    span = float(np.ptp(exact))
    assert np.abs(found - exact).max() < 0.03 * span
    assert np.abs(kernels - exact).max() < 0.03 * span
    assert {node.op_type for node in qdq.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}


def test_a_missing_range_is_named() -> None:
    model = residual_network(4, (8, 8))
    ranges = ranges_of(lower(model), normal(1, 3, 8, 8))
    del ranges["u"]
    with pytest.raises(UnsupportedModel, match=r"range for tensor 'u'.*downshift quantize"):
        quantize(lower(model), ranges)
    with pytest.raises(UnsupportedModel, match=r"range for tensor 'u'.*downshift quantize"):
        integer(lower(model), ranges)


def test_an_operation_that_the_int8_kernels_do_not_know_is_named() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[3, 3], strides=[1, 2], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["a"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    model = small_model(nodes, (3, 8, 8), {"w": normal(3, 3, 3, 3)})
    with pytest.raises(UnsupportedModel, match=r"do not know this Conv \(tensor 'a'\)"):
        integer(lower(model), ranges_of(lower(model), normal(1, 3, 8, 8)))


def test_a_layer_whose_sums_might_not_fit_32_bits_is_named() -> None:
    """1,400 inputs of 7x7 at the largest weight: 68,600 * 127 * 255 exceeds 2^31, 66,000 of them do not."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Flatten", ["a"], ["y"])]
    for inputs, fits in ((1400, False), (1340, True)):
        weight = np.ones((1, inputs, 7, 7), np.float32)
        graph = lower(small_model(nodes, (inputs, 8, 8), {"w": weight}))
        ranges = {"x": (0.0, 1.0), "a": (0.0, 70_000.0)}
        if fits:
            integer(graph, ranges)
        else:
            with pytest.raises(
                UnsupportedModel, match=r"sums of this Conv \(tensor 'a'\) may exceed 32 bits"
            ):
                integer(graph, ranges)


@pytest.mark.parametrize("bad", [(0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_that_is_not_finite_is_named(bad: tuple[float, float]) -> None:
    model = residual_network(4, (8, 8))
    ranges = ranges_of(lower(model), normal(1, 3, 8, 8)) | {"u": bad}
    with pytest.raises(UnsupportedModel, match=r"activation range .* of 'u': run `downshift quantize` again"):
        integer(lower(model), ranges)
