"""The integer arithmetic: operations in small literal cases, then whole networks against float and QDQ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, event, given, settings
from onnx import TensorProto, helper

from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering import integer_reference, reference
from downshift.runtime.lowering.emit_qdq import emit_qdq
from downshift.runtime.lowering.graph import Activation, Padding, Stride
from downshift.runtime.lowering.integer import integer
from downshift.runtime.lowering.integer_graph import (
    Dequantize,
    FloatActivate,
    FloatLinear,
    IntegerAdd,
    IntegerAffine,
    IntegerAveragePool,
    IntegerConcat,
    IntegerConv,
    IntegerMean,
    IntegerScale,
    IntegerTable,
    IntegerTake,
    Mean,
)
from downshift.runtime.lowering.integer_reference import execute
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.quantize import affine_of, quantize
from tests.runtime.lowering.test_networks import OURS, exported, trained_looking
from tests.runtime.quantized import ranges_of
from tests.runtime.random_onnx import small_networks
from tests.runtime.small_onnx import normal, small_model

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from downshift.runtime.lowering.graph import Graph
    from downshift.runtime.lowering.integer_graph import IntegerOperation
    from downshift.runtime.lowering.quantize import Ranges

TORCHVISION = ("resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "regnet_y_400mf")
FURTHER = ("mobilenet_v3_small", "squeezenet1_1", "densenet121", "googlenet")
QUANTA = {"torchvision/resnet50": 2, "torchvision/densenet121": 4}
"""Off the logits where onnxruntime's fused and plain operators differ as much: one tie grows with depth."""
VECTORS = Mean | Dequantize | FloatLinear | FloatActivate


def answered(
    operation: IntegerOperation, *inputs: list[list[list[int]]], zeros: tuple[int, ...] = (0, 0)
) -> list[list[list[int]]]:
    """What an operation on maps [C][H][W] writes."""
    found = execute(operation, [np.array([one], np.uint8) for one in inputs], zeros)
    assert found.dtype == np.uint8
    result: list[list[list[int]]] = found[0].tolist()
    return result


def test_a_depthwise_convolution_keeps_channels_apart_and_pads_with_the_zero_point() -> None:
    conv = IntegerConv(
        output=1,
        input=0,
        weight=np.array([[[[1, 2]]], [[[-1, 3]]]], np.int8),
        scale=np.array([0.5, 1.0], np.float32),
        bias=np.array([0.0, 1.0], np.float32),
        stride=Stride(1, 1),
        padding=Padding(0, 0, 0, 1),
        zero=0,
        residual=None,
        residual_scale=0.0,
        groups=2,
    )
    # halves are rounded to even: (5 + 2 * 8) / 2 = 10.5 becomes 10
    assert answered(conv, [[[5, 8]], [[4, 9]]], zeros=(7, 0)) == [[[10, 11]], [[24, 13]]]


@pytest.mark.parametrize(("counted", "expected"), [(True, [[4, 4]]), (False, [[2, 4]])])
def test_an_average_divides_by_the_pixels_that_count(counted: bool, expected: list[list[int]]) -> None:
    pool = IntegerAveragePool(
        output=1,
        input=0,
        kernel=(1, 2),
        stride=Stride(1, 2),
        padding=Padding(0, 1, 0, 0),
        count_padding=counted,
    )
    assert answered(pool, [[[2, 4, 5]]], zeros=(6,)) == [expected]  # 4.5 becomes 4


def test_a_quantised_mean_is_a_map_of_one_pixel() -> None:
    mean = IntegerMean(output=1, input=0, scale=0.25, bias=1.0, zero=0)
    assert answered(mean, [[[1, 2], [3, 4]], [[255] * 2] * 2]) == [[[4]], [[255]]]  # 3.5 becomes 4


def test_a_sum_of_different_scales_saturates_at_both_ends() -> None:
    add = IntegerAdd(output=2, left=0, right=1, left_scale=2.0, right_scale=-0.5, bias=-3.0, zero=0)
    assert answered(add, [[[0, 5, 200]]], [[[4, 1, 0]]]) == [[[0, 6, 255]]]


def test_an_affine_map_and_a_factor_work_channel_by_channel() -> None:
    affine = IntegerAffine(
        output=1,
        input=0,
        scale=np.array([2, -1], np.float32),
        bias=np.array([1, 9], np.float32),
        zero=0,
    )
    assert answered(affine, [[[3]], [[4]]]) == [[[7]], [[5]]]
    scale = IntegerScale(output=2, input=0, factor=1, scale=0.5, zero=10)
    # above its zero point 3 is 2, 6 is 4: half their product is 4; 4 is 3 and 0 is -2: -3; zero is 10
    assert answered(scale, [[[3]], [[4]]], [[[6]], [[0]]], zeros=(1, 2)) == [[[14]], [[7]]]


def test_a_table_is_looked_up_and_taking_leaves_zero_points_outside() -> None:
    table = np.arange(255, -1, -1).astype(np.uint8)
    assert answered(IntegerTable(output=1, input=0, table=table, zero=0), [[[0, 255, 3]]]) == [
        [[255, 0, 252]]
    ]
    take = IntegerTake(output=1, input=0, start=(-1, 0, 1), step=(1, 1, 2), size=(3, 1, 2))
    assert answered(take, [[[1, 2, 3, 4]]], zeros=(9,)) == [[[9, 9]], [[2, 4]], [[9, 9]]]


def test_what_is_joined_is_brought_to_one_scale() -> None:
    double = np.clip(np.arange(256) * 2, 0, 255)
    join = IntegerConcat(output=2, inputs=(0, 1), tables=np.array([np.arange(256), double], np.uint8), zero=0)
    assert answered(join, [[[1]], [[2]]], [[[200]], [[4]]]) == [[[1]], [[2]], [[255]], [[8]]]


@pytest.mark.parametrize("kind", [kind for kind in Activation if kind is not Activation.NONE])
def test_the_table_of_a_curve_is_the_nearest_byte_of_every_byte(kind: Activation) -> None:
    operator = {
        "relu": "Relu",
        "sigmoid": "Sigmoid",
        "hard_sigmoid": "HardSigmoid",
        "hard_swish": "HardSwish",
    }
    nodes = {
        Activation.RELU6: [helper.make_node("Clip", ["a", "zero", "six"], ["r"])],
        Activation.SILU: [
            helper.make_node("Sigmoid", ["a"], ["s"]),
            helper.make_node("Mul", ["a", "s"], ["r"]),
        ],
        Activation.HARD_SIGMOID: [helper.make_node("HardSigmoid", ["a"], ["r"], alpha=1 / 6, beta=0.5)],
    }.get(kind) or [helper.make_node(operator[kind.value], ["a"], ["r"])]
    pool = helper.make_node("MaxPool", ["x"], ["a"], kernel_shape=[1, 2])  # nothing takes the curve in
    constants = {"zero": np.float32(0), "six": np.float32(6)}
    model = small_model([pool, *nodes, helper.make_node("Flatten", ["r"], ["y"])], (1, 1, 4), constants)
    graph = integer(lower(model), {"x": (-4.0, 8.0), "a": (-4.0, 8.0), "r": (-1.0, 7.0)})
    [table] = [operation.table for operation in graph.operations if isinstance(operation, IntegerTable)]
    source, target = (
        graph.input,
        affine_of(*((0.0, 6.0 + (kind is Activation.RELU)) if "relu" in kind.value else (-1.0, 7.0))),
    )
    real = reference.activate((np.arange(256) - source.zero) * source.scale, kind)
    error = np.abs((table.astype(float) - target.zero) * target.scale - np.clip(real, None, 7.0))
    assert error.max() <= target.scale / 2 + 1e-6


def answers(model: onnx.ModelProto, images: NDArray[np.float32], *, fast: bool) -> list[NDArray[np.float32]]:
    """All outputs on onnxruntime, with its fusions for quantised models where `fast`."""
    options = onnxruntime.SessionOptions()
    if not fast:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found: list[NDArray[np.float32]] = session.run(None, {"input": images})
    return found


def equals_qdq_operation_by_operation(graph: Graph, ranges: Ranges, images: NDArray[np.float32]) -> None:
    """Each integer operation on the bytes of the same QDQ arithmetic is at most a rare tie off its result."""
    integers, quantization = integer(graph, ranges), quantize(graph, ranges, fused=True)
    qdq = emit_qdq(quantization)
    maps = [0, *(one.output for one in quantization.graph.operations if one.output in quantization.affine)]
    for tensor in maps:
        qdq.graph.output.append(helper.make_tensor_value_info(f"q{tensor}", TensorProto.UINT8, None))
    there = answers(qdq, images, fast=False)[1:]
    operations = [one for one in integers.operations if not isinstance(one, VECTORS)]
    tensors: list[NDArray[np.generic]] = [np.empty(0)] * len(integers.zeros)
    for number, found in zip([0, *(one.output for one in operations)], there, strict=True):
        tensors[number] = found
    for operation in operations:
        found = execute(operation, tensors, integers.zeros)
        off = np.abs(found.astype(int) - tensors[operation.output].astype(int))
        assert off.max() <= 1, operation
        if isinstance(operation, IntegerConv):  # elsewhere halves are many, and exact
            assert np.count_nonzero(off) <= max(2, found.size // 1000), operation


@pytest.mark.parametrize("name", [*OURS, *(f"torchvision/{one}" for one in (*TORCHVISION, *FURTHER))])
def test_every_network_runs_whole_in_int8_near_float_and_as_qdq_does(name: str) -> None:
    ours = not name.startswith("torchvision")
    size = 32 if ours else 64
    images = normal(2, 3, size, size)
    graph = lower(exported(trained_looking(name, 0.25 if ours else 1.0), size, "traced"))
    ranges = ranges_of(graph, images)
    equals_qdq_operation_by_operation(graph, ranges, images)
    exact = reference.run(graph, images)
    found = integer_reference.run(integer(graph, ranges), images)
    fused = emit_qdq(quantize(graph, ranges, fused=True))
    off = min(np.abs(found - answers(fused, images, fast=fast)[0]).max() for fast in (False, True))
    assert off <= QUANTA.get(name, 1) * np.ptp(exact) / 255
    assert np.mean((found - exact) ** 2) < 0.01 * np.var(exact)
    [shipped] = answers(emit_qdq(quantize(graph, ranges)), images, fast=True)
    assert np.mean((shipped - exact) ** 2) < 0.01 * np.var(exact)


@given(small_networks())
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_random_networks_are_quantised_as_qdq_is(model: onnx.ModelProto) -> None:
    graph = lower(model)
    images = normal(2, *graph.shapes[0])
    try:
        integer(graph, ranges_of(graph, images))
    except UnsupportedModel:
        event("refused")
        return
    equals_qdq_operation_by_operation(graph, ranges_of(graph, images), images)
