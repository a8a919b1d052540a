"""Lowering, operator by operator: same answers as onnxruntime, the fusions that are legal, clear refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering.graph import (
    Activate,
    Activation,
    Add,
    AveragePool,
    ChannelAffine,
    Conv,
    Flatten,
    GlobalAveragePool,
    Linear,
    MaxPool,
    Operation,
    Pad,
    Padding,
    Scale,
    Slice,
)
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.reference import run
from tests.runtime.small_onnx import answer, normal, small_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

node = helper.make_node
IMAGE = (4, 9, 7)
CONV = {"w": normal(6, 4, 3, 3, seed=1), "b": normal(6, seed=2)}
NORM = {
    "scale": np.linspace(0.5, 1.5, 6, dtype=np.float32),
    "shift": normal(6, seed=3),
    "mean": normal(6, seed=4),
    "var": np.linspace(0.5, 2, 6, dtype=np.float32),
}
conv = node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1])
norm = node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"])


def lowered(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any] | None = None,
    *,
    image: tuple[int, int, int] = IMAGE,
    batch: int | str = "n",
) -> tuple[Operation, ...]:
    """The kinds of operations of the lowered model, whose answers are checked against onnxruntime's."""
    model = small_model(nodes, image, constants, batch=batch)
    graph = lower(model)
    images = normal(3, *image)
    expected = answer(model, images)
    assert (3, *graph.shapes[graph.output]) == expected.shape
    np.testing.assert_allclose(run(graph, images), expected, rtol=1e-5, atol=1e-5)
    return graph.operations


def kinds(operations: Sequence[Operation]) -> list[type]:
    return [type(operation) for operation in operations]


def test_a_block_of_convolution_norm_and_relu_is_one_operation() -> None:
    (only,) = lowered([conv, norm, node("Relu", ["n"], ["y"])], CONV | NORM)
    assert isinstance(only, Conv)
    assert only.activation is Activation.RELU
    assert only.padding == Padding(1, 1, 1, 1)


def test_a_residual_is_added_before_the_activation() -> None:
    square = {"w": normal(4, 4, 3, 3)}
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        node("Add", ["x", "c"], ["s"]),
        node("Relu", ["s"], ["y"]),
    ]
    (only,) = lowered(nodes, square)
    assert isinstance(only, Conv)
    assert (only.residual, only.activation) == (0, Activation.RELU)


def test_of_two_convolutions_the_later_one_adds_the_other() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["late"], pads=[1] * 4),
        node("Conv", ["x", "v"], ["early"], name="shortcut"),
        node("Add", ["late", "early"], ["y"]),
    ]
    first, second = lowered(nodes, {"w": normal(6, 4, 3, 3), "v": normal(6, 4, 1, 1)})
    assert isinstance(second, Conv)
    assert (second.name, second.residual) == ("shortcut", first.output)


def test_an_activated_convolution_takes_in_no_residual() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("Add", ["r", "x"], ["y"]),
    ]
    assert kinds(lowered(nodes, {"w": normal(4, 4, 3, 3)})) == [Conv, Add]


def test_a_result_with_two_readers_is_kept() -> None:
    nodes = [conv, node("Relu", ["c"], ["r"]), node("Add", ["r", "c"], ["y"])]
    assert kinds(lowered(nodes, CONV)) == [Conv, Activate, Add]


def test_a_tensor_added_to_itself_is_not_a_residual() -> None:
    assert kinds(lowered([conv, node("Add", ["c", "c"], ["y"])], CONV)) == [Conv, Add]


def test_the_norm_of_a_pre_activation_network_stays_with_its_relu() -> None:
    nodes = [
        conv,
        norm,
        node("Relu", ["n"], ["r"]),
        node("Conv", ["r", "v"], ["d"]),
        node("Add", ["d", "c"], ["y"]),
    ]
    operations = lowered(nodes, CONV | NORM | {"v": normal(6, 6, 1, 1)})
    assert kinds(operations) == [Conv, ChannelAffine, Conv]
    assert isinstance(operations[1], ChannelAffine)
    assert operations[1].activation is Activation.RELU


def test_zero_weights_stay_zero_when_a_norm_is_folded() -> None:
    weight = CONV["w"] * (normal(6, 4, 3, 3, seed=9) > 1)
    (only,) = lowered([conv, norm, node("Relu", ["n"], ["y"])], CONV | NORM | {"w": weight})
    assert isinstance(only, Conv)
    np.testing.assert_array_equal(only.weight == 0, weight == 0)


def test_padding_in_front_of_a_convolution_becomes_its_own() -> None:
    nodes = [
        node("Pad", ["x", "pads"], ["p"]),
        node("Conv", ["p", "w", "b"], ["y"], pads=[1, 0, 0, 1], strides=[2, 2]),
    ]
    (only,) = lowered(nodes, CONV | {"pads": np.array([0, 0, 1, 2, 0, 0, 0, 1])})
    assert isinstance(only, Conv)
    assert only.padding == Padding(2, 2, 0, 2)


@pytest.mark.parametrize(
    "attributes", [{}, {"count_include_pad": 1}, {"pads": [1, 1, 0, 0], "count_include_pad": 1}]
)
def test_padding_in_front_of_an_average_counts_as_zeros(attributes: dict[str, Any]) -> None:
    nodes = [
        node("Pad", ["x", "pads"], ["p"]),
        node("AveragePool", ["p"], ["y"], kernel_shape=[3, 3], **attributes),
    ]
    assert kinds(lowered(nodes, {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 0])})) == [AveragePool]


def test_an_average_that_ignores_its_own_padding_keeps_the_zeros_before_it_apart() -> None:
    nodes = [
        node("Pad", ["x", "pads"], ["p"]),
        node("AveragePool", ["p"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ]
    assert kinds(lowered(nodes, {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 0])})) == [Pad, AveragePool]


@pytest.mark.parametrize(
    ("nodes", "kind"),
    [
        ([node("Relu", ["c"], ["y"])], Activation.RELU),
        ([node("Clip", ["c", "zero", "six"], ["y"])], Activation.RELU6),
        ([node("Clip", ["c", "zero"], ["y"])], Activation.RELU),
        ([node("HardSwish", ["c"], ["y"])], Activation.HARD_SWISH),
        ([node("HardSigmoid", ["c"], ["y"], alpha=1 / 6)], Activation.HARD_SIGMOID),
        ([node("Sigmoid", ["c"], ["y"])], Activation.SIGMOID),
    ],
)
def test_an_activation_is_taken_in_by_the_convolution(nodes: list[onnx.NodeProto], kind: Activation) -> None:
    limits = {"zero": np.float32(0), "six": np.float32(6)}
    (only,) = lowered([conv, *nodes], CONV | limits)
    assert isinstance(only, Conv)
    assert only.activation is kind


def test_a_gate_spelt_out_is_recognised_and_kept_apart_from_its_two_readers() -> None:
    sigmoid = [conv, node("Sigmoid", ["c"], ["s"]), node("Mul", ["c", "s"], ["y"])]
    (only,) = lowered(sigmoid, CONV)
    assert isinstance(only, Conv)
    assert only.activation is Activation.SILU


def test_a_hard_swish_spelt_out_is_recognised() -> None:
    nodes = [
        conv,
        node("Add", ["c", "three"], ["a"]),
        node("Clip", ["a", "zero", "six"], ["r"]),
        node("Div", ["r", "six"], ["s"]),
        node("Mul", ["s", "c"], ["y"]),
    ]
    constants = {"zero": np.float32(0), "three": np.float32(3), "six": np.float32(6)}
    (only,) = lowered(nodes, CONV | constants)
    assert isinstance(only, Conv)
    assert only.activation is Activation.HARD_SWISH


def test_squeeze_and_excitation_scales_by_channel() -> None:
    nodes = [
        node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
        node("Conv", ["m", "w"], ["e"]),
        node("Sigmoid", ["e"], ["s"]),
        node("Mul", ["s", "x"], ["y"]),
    ]
    constants = {"axes": np.array([-1, -2]), "w": normal(4, 4, 1, 1)}
    assert kinds(lowered(nodes, constants)) == [GlobalAveragePool, Conv, Scale]


def test_a_flattening_is_taken_back() -> None:
    nodes = [
        node("ReduceMean", ["x", "axes"], ["m"], keepdims=0),
        node("Unsqueeze", ["m", "axes"], ["e"]),
        node("Mul", ["x", "e"], ["y"]),
    ]
    assert kinds(lowered(nodes, {"axes": np.array([2, 3])})) == [GlobalAveragePool, Scale]


def test_a_shortcut_without_parameters_is_one_slice_and_one_pad() -> None:
    nodes = [
        node("Slice", ["x", "zero", "huge", "two", "step"], ["h"]),
        node("Slice", ["h", "zero", "huge", "three", "step"], ["w"]),
        node("Pad", ["w", "pads"], ["y"]),
    ]
    constants = {
        "zero": np.array([0]),
        "huge": np.array([np.iinfo(np.int64).max]),
        "two": np.array([2]),
        "three": np.array([3]),
        "step": np.array([2]),
        "pads": np.array([0, 2, 0, 0, 0, 3, 0, 0]),
    }
    cut, pad = lowered(nodes, constants)
    assert isinstance(cut, Slice)
    assert (cut.step, cut.size) == ((1, 2, 2), (4, 5, 4))
    assert isinstance(pad, Pad)
    assert (pad.before, pad.after) == ((2, 0, 0), (3, 0, 0))


def test_constant_zeros_joined_to_a_map_are_padding() -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("ConstantOfShape", ["s"], ["z"]),
        node("Concat", ["z", "x"], ["y"], axis=1),
    ]
    (only,) = lowered(nodes)
    assert isinstance(only, Pad)
    assert only.before == (4, 0, 0)


def test_maps_are_joined_along_channels() -> None:
    lowered([conv, node("Concat", ["c", "x", "c"], ["y"], axis=-3)], CONV)


def test_a_classifier_of_matrix_product_and_bias_is_one_layer() -> None:
    nodes = [
        node("GlobalAveragePool", ["x"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "m"], ["l"]),
        node("Add", ["v", "l"], ["y"]),
    ]
    operations = lowered(nodes, {"m": normal(4, 5), "v": normal(5)})
    assert kinds(operations) == [GlobalAveragePool, Flatten, Linear]


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_keeps_its_factors(transposed: int) -> None:
    matrix = normal(5, 4 * 63) if transposed else normal(4 * 63, 5)
    nodes = [
        node("Flatten", ["x"], ["f"]),
        node("Gemm", ["f", "m", "v"], ["y"], alpha=0.5, beta=2.0, transB=transposed),
    ]
    assert kinds(lowered(nodes, {"m": matrix, "v": normal(5)})) == [Flatten, Linear]


def test_the_shape_arithmetic_of_exporters_is_evaluated() -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Constant", [], ["zero"], value_int=0),
        node("Gather", ["s", "zero"], ["n"]),
        node("Constant", [], ["axes"], value_ints=[0]),
        node("Unsqueeze", ["n", "axes"], ["u"]),
        node("Constant", [], ["rest"], value_ints=[-1]),
        node("Concat", ["u", "rest"], ["t"], axis=0),
        node("Reshape", ["x", "t"], ["y"]),
    ]
    assert kinds(lowered(nodes)) == [Flatten]


@pytest.mark.parametrize("target", [[0, -1], [-1, 252], [3, 252], [0, 252]])
def test_every_spelling_of_flattening_is_known(target: list[int]) -> None:
    nodes = [node("Reshape", ["x", "t"], ["y"])]
    assert kinds(lowered(nodes, {"t": np.array(target)}, batch=3)) == [Flatten]


def test_what_does_nothing_disappears() -> None:
    nodes = [
        node("Identity", ["x"], ["a"]),
        node("Dropout", ["a"], ["b"]),
        node("Cast", ["b"], ["c"], to=TensorProto.FLOAT),
        node("AveragePool", ["c"], ["d"], kernel_shape=[1, 1]),
        node("Flatten", ["d"], ["y"]),
    ]
    assert kinds(lowered(nodes)) == [Flatten]


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
        {"kernel_shape": [1, 1], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [4, 4], "strides": [3, 2], "auto_pad": "SAME_LOWER"},
        {"kernel_shape": [3, 3], "auto_pad": "VALID"},
    ],
)
@pytest.mark.parametrize("image", [(2, 9, 7), (1, 4, 5), (3, 8, 8)])
def test_maximum_windows(attributes: dict[str, Any], image: tuple[int, int, int]) -> None:
    assert kinds(lowered([node("MaxPool", ["x"], ["y"], **attributes)], image=image)) == [MaxPool]


@pytest.mark.parametrize("counted", [0, 1])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
def test_mean_windows(counted: int, pads: list[int]) -> None:
    pool = node(
        "AveragePool", ["x"], ["y"], kernel_shape=[3, 2], strides=[2, 1], pads=pads, count_include_pad=counted
    )
    assert kinds(lowered([pool])) == [AveragePool]


def test_a_mean_over_the_whole_map_is_global() -> None:
    pool = node("AveragePool", ["x"], ["y"], kernel_shape=[9, 7])
    assert kinds(lowered([pool])) == [GlobalAveragePool]


def test_a_maximum_over_the_whole_map() -> None:
    assert kinds(lowered([node("GlobalMaxPool", ["x"], ["y"])])) == [MaxPool]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions(groups: int, kernel: int, stride: int) -> None:
    attributes: dict[str, Any] = {"group": groups, "strides": [stride, stride], "pads": [kernel // 2] * 4}
    weight = normal(8, 4 // groups, kernel, kernel)
    assert kinds(lowered([node("Conv", ["x", "w"], ["y"], **attributes)], {"w": weight})) == [Conv]


def test_arithmetic_with_constants_is_an_affine_map() -> None:
    nodes = [
        node("Sub", ["x", "c"], ["a"]),
        node("Div", ["a", "c"], ["b"]),
        node("Mul", ["two", "b"], ["d"]),
        node("Sub", ["two", "d"], ["y"]),
    ]
    constants = {"c": np.arange(1, 5, dtype=np.float32).reshape(4, 1, 1), "two": np.float32(2)}
    assert kinds(lowered(nodes, constants)) == [ChannelAffine]


def refusal(nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Any] | None = None) -> str:
    with pytest.raises(UnsupportedModel) as caught:
        lower(small_model(nodes, IMAGE, constants))
    return str(caught.value)


@pytest.mark.parametrize(
    ("one", "constants", "reason"),
    [
        (node("Tanh", ["x"], ["y"]), {}, "the operator is not known"),
        (node("Relu", ["x"], ["y"], domain="com.acme"), {}, "com.acme.Relu"),
        (node("Conv", ["x", "w"], ["y"], dilations=[2, 2]), CONV, "dilation (2, 2)"),
        (node("Conv", ["x", "w"], ["y"], strides=[3, 3]), CONV, "stride (3, 3)"),
        (node("Conv", ["x", "w"], ["y"], pads=[-1, 0, 0, 0]), CONV, "pads (-1, 0, 0, 0)"),
        (node("Conv", ["x", "w"], ["y"], group=3), CONV, "3 groups"),
        (node("Conv", ["x", "x"], ["y"]), {}, "computed at run time"),
        (node("Conv", ["x", "w"], ["y"]), {"w": np.full((6, 4, 1, 1), np.nan, np.float32)}, "not finite"),
        (node("Conv", ["x", "w"], ["y"]), {"w": normal(6, 4, 8, 8)}, "kernel (8, 8)"),
        (node("Conv", ["x", "w"], ["y"]), {"w": normal(6, 3, 1, 1)}, "does not fit 4 channels"),
        (node("Conv", ["x", "w"], ["y"]), {"w": normal(6, 4, 1, 1).astype(np.float64)}, "float32"),
        (node("Relu", ["z"], ["y"]), {}, "input 'z' is computed nowhere"),
        (node("Clip", ["x"], ["y"]), {}, "(-inf, inf)"),
        (node("HardSigmoid", ["x"], ["y"]), {}, "slope 0.2"),
        (node("Flatten", ["x"], ["y"], axis=2), {}, "axis 2"),
        (node("Reshape", ["x", "t"], ["y"]), {"t": np.array([0, 4, -1])}, "(4, 63)"),
        (node("Reshape", ["x", "t"], ["y"]), {"t": np.array([0, 2, -1, 7])}, "(2, 18, 7)"),
        (node("ReduceMean", ["x", "a"], ["y"]), {"a": np.array([1])}, "axes [1]"),
        (node("Mul", ["x", "x"], ["y"]), {}, "not one factor per channel"),
        (node("Add", ["x", "c"], ["y"]), {"c": normal(9, 7)}, "not one number per channel"),
        (node("Concat", ["x", "x"], ["y"], axis=2), {}, "axis 2"),
        (node("Pad", ["x", "p"], ["y"], mode="reflect"), {"p": np.zeros(8, np.int64)}, "'reflect'"),
        (node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], pads=[3] * 4), {}, "wider than kernel"),
        (node("MaxPool", ["x"], ["y"], kernel_shape=[10, 1]), {}, "larger than its input"),
    ],
)
def test_a_refusal_names_operator_and_reason(
    one: onnx.NodeProto, constants: dict[str, Any], reason: str
) -> None:
    text = refusal([one], constants)
    assert one.op_type in text
    assert reason in text


def test_a_refusal_names_the_node() -> None:
    assert "'layer4.tanh'" in refusal([node("Tanh", ["x"], ["y"], name="layer4.tanh")])


def test_a_reshape_that_is_right_for_one_batch_only_is_refused() -> None:
    nodes = [node("Reshape", ["x", "t"], ["y"])]
    assert "252" in refusal(nodes, {"t": np.array([1, 252])})


def test_a_cycle_is_a_name_that_is_computed_nowhere_before() -> None:
    nodes = [node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"])]
    assert "'b' is computed nowhere before" in refusal(nodes)


def test_a_tensor_in_another_file_is_not_opened() -> None:
    model = small_model([node("Add", ["x", "c"], ["y"])], IMAGE, {"c": np.float32(1)})
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "secret.bin")
    with pytest.raises(UnsupportedModel, match="another file"):
        lower(model)


def test_an_open_image_size_is_refused() -> None:
    model = small_model([node("Relu", ["x"], ["y"])], IMAGE)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(UnsupportedModel, match="fixed C, H, W"):
        lower(model)
