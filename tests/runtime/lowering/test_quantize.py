"""Quantisation: scales, zero points, and int8 networks against the float one and against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from downshift.runtime import _kernels
from downshift.runtime.engines.integer_network import network
from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering import integer_reference, reference
from downshift.runtime.lowering.emit_qdq import emit_qdq
from downshift.runtime.lowering.integer import integer
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.quantize import (
    affine_of,
    calibrated,
    quantize,
    quantized_weight,
    spelled_out,
)
from tests.runtime.small_onnx import normal, small_model


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


def residual_network(
    width: int, size: tuple[int, int], stride: int = 1, *, density: float = 0.4
) -> onnx.ModelProto:
    """conv, relu, conv (strided) with a 1x1 shortcut, relu, maximum pooling, global average, linear."""
    keep = np.random.default_rng(7).random((width, width, 3, 3)) < density
    constants = {
        "w0": normal(width, 3, 3, 3, seed=1) * np.float32(0.3),
        "w1": normal(width, width, 3, 3, seed=2) * keep * np.float32(0.2),
        "w2": normal(width, width, 1, 1, seed=3) * np.float32(0.3),
        "b": normal(width, seed=4) * np.float32(0.1),
        "fc": normal(5, width, seed=5),
        "fcb": normal(5, seed=6),
    }
    strides = [stride, stride]
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b"], ["a"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "w1", "b"], ["c"], kernel_shape=[3, 3], pads=[1] * 4, strides=strides),
        helper.make_node("Conv", ["r", "w2", "b"], ["s"], kernel_shape=[1, 1], strides=strides),
        helper.make_node("Add", ["c", "s"], ["t"]),
        helper.make_node("Relu", ["t"], ["u"]),
        helper.make_node("MaxPool", ["u"], ["m"], kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1]),
        helper.make_node("GlobalAveragePool", ["m"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "fc", "fcb"], ["y"], transB=1),
    ]
    return small_model(nodes, (3, *size), constants)


def ranges_of(model: onnx.ModelProto, images: np.ndarray) -> dict[str, tuple[float, float]]:
    """What every tensor's activations span, by the float reference."""
    graph = spelled_out(lower(model))
    values = reference.run_all(graph, images)
    return {graph.names[t]: (float(values[t].min()), float(values[t].max())) for t in calibrated(graph)}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (14, 14), (32, 32), (5, 16), (2, 3)])
@pytest.mark.parametrize("width", [4, 6, 16])
def test_the_kernels_compute_the_integer_reference_bit_by_bit(
    width: int, size: tuple[int, int], stride: int
) -> None:
    model, images = residual_network(width, size, stride), normal(5, 3, *size, seed=9)
    graph = integer(lower(model), ranges_of(model, images))
    expected = integer_reference.run(graph, images)
    for isa in _kernels.int8_isas():
        for threads in (1, 2):
            program = network(graph).compile(_kernels.Workers(threads), isa, 0)
            np.testing.assert_allclose(program.run(images), expected, rtol=1e-5, atol=1e-5)
            alone = [program.run(images[i : i + 1]) for i in range(len(images))]
            np.testing.assert_array_equal(np.concatenate(alone), program.run(images))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("kernel", "stride"), [((7, 7), 2), ((5, 3), 1), ((2, 2), 2), ((1, 3), 1)])
@pytest.mark.parametrize("size", [(16, 16), (23, 18)])
def test_a_stem_of_few_channels_computes_the_same_bits(
    channels: int, kernel: tuple[int, int], stride: int, size: tuple[int, int]
) -> None:
    """Three channels are packed tap after tap, so that no byte of a product is idle."""
    pads = [kernel[0] // 2, kernel[1] // 2] * 2
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=pads, strides=[stride] * 2),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    constants = {"w": normal(6, channels, *kernel, seed=1), "b": normal(6, seed=2)}
    model, images = small_model(nodes, (channels, *size), constants), normal(3, channels, *size, seed=3)
    graph = integer(lower(model), ranges_of(model, images))
    for isa in _kernels.int8_isas():
        for threads in (1, 2):
            found = network(graph).compile(_kernels.Workers(threads), isa).run(images)
            np.testing.assert_allclose(found, integer_reference.run(graph, images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("density", [0.05, 1.0])
@pytest.mark.parametrize("size", [(8, 8), (15, 17), (4, 4)])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_plan_of_a_convolution_computes_the_same_bits(
    density: float, size: tuple[int, int], stride: int
) -> None:
    """256 channels: tiles that do not fit the L1 cache also go by blocks of input channels."""
    model, images = residual_network(256, size, stride, density=density), normal(2, 3, *size, seed=9)
    graph = integer(lower(model), ranges_of(model, images))
    expected = integer_reference.run(graph, images)
    isa = _kernels.int8_isas()[0]
    for plan in (None, *range(4)):
        program = network(graph).compile(_kernels.Workers(2), isa, plan)
        for found in (program.run(images), program.run(images[:1]), program.run(images)):
            np.testing.assert_allclose(found, expected[: len(found)], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="plan -1"):
        network(graph).compile(_kernels.Workers(1), isa, -1)


@pytest.mark.parametrize("density", [0.0, 0.02, 1.0])
def test_layers_from_empty_to_dense_are_packed_right(density: float) -> None:
    model, images = residual_network(12, (16, 16), density=density), normal(2, 3, 16, 16, seed=9)
    graph = integer(lower(model), ranges_of(model, images))
    for isa in _kernels.int8_isas():
        found = network(graph).compile(_kernels.Workers(1), isa).run(images)
        np.testing.assert_allclose(found, integer_reference.run(graph, images), rtol=1e-5, atol=1e-5)


def test_every_int8_kernel_of_the_table_is_there_for_every_instruction_set() -> None:
    tables = [_kernels.int8_kernels(isa) for isa in _kernels.int8_isas()]
    assert all(table == tables[0] for table in tables)
    assert {(rows, stride) for rows, _, _, stride in tables[0]} == {(1, 1), (1, 2), (4, 1), (4, 2)}


def test_qdq_on_onnxruntime_is_near_the_float_network_and_the_kernels() -> None:
    model, images = residual_network(16, (16, 16)), normal(8, 3, 16, 16, seed=9)
    ranges = ranges_of(model, images)
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
    ranges = ranges_of(model, normal(1, 3, 8, 8))
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
        integer(lower(model), ranges_of(model, normal(1, 3, 8, 8)))


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
    ranges = ranges_of(model, normal(1, 3, 8, 8)) | {"u": bad}
    with pytest.raises(UnsupportedModel, match=r"activation range .* of 'u': run `downshift quantize` again"):
        integer(lower(model), ranges)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zero": 256}, "zero point is out of range"),
        ({"output": 5}, "is not the next one"),
        ({"input": 3}, "no quantised map"),
        ({"stride": (3, 3)}, "stride 3 is neither 1 nor 2"),
        ({"scale": np.full(4, np.nan, np.float32)}, "do not fit 32 bits"),
        ({"scale": np.ones(3, np.float32)}, "do not fit its input"),
        ({"padding": (9, 9, 9, 9)}, "padding"),
    ],
)
def test_a_convolution_that_cannot_run_is_refused_in_one_sentence(change: dict, message: str) -> None:
    made = _kernels.Int8Network((3, 8, 8), 0.1, 0)
    fit = {
        "output": 1,
        "input": 0,
        "weight": np.ones((4, 3, 3, 3), np.int8),
        "scale": np.ones(4, np.float32),
        "bias": np.zeros(4, np.float32),
        "stride": (1, 1),
        "padding": (1, 1, 1, 1),
        "zero": 0,
        "residual": None,
        "residual_scale": 0.0,
    }
    with pytest.raises(ValueError, match=message):
        made.conv(**(fit | change))
