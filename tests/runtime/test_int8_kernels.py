"""The int8 kernels equal the integer reference bit by bit, on every instruction set and any shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from onnx import helper

from downshift.runtime import _kernels
from downshift.runtime.engines.integer_network import network
from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering import integer_reference
from downshift.runtime.lowering.graph import Padding, Stride
from downshift.runtime.lowering.integer import integer
from downshift.runtime.lowering.integer_graph import Dequantize, IntegerConv, IntegerGraph
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.quantize import Affine
from tests.runtime.quantized import ranges_of
from tests.runtime.random_onnx import small_networks
from tests.runtime.small_onnx import normal, residual_network, small_model

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

ISAS = _kernels.int8_isas()
QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much]


def equals_reference(graph: IntegerGraph, images: NDArray[np.float32], isas: list[str] = ISAS) -> None:
    """On 1 and 2 threads, image by image and together; floats after the last map may round differently."""
    expected = integer_reference.run(graph, images)
    exact = isinstance(graph.operations[-1], Dequantize)
    for isa in isas:
        alone = network(graph).compile(_kernels.Workers(1), isa).run(images)
        together = network(graph).compile(_kernels.Workers(2), isa, 0)
        np.testing.assert_array_equal(together.run(images), alone, f"{isa}, threads")
        np.testing.assert_array_equal(together.run(images[:1]), alone[:1], f"{isa}, batch")
        if exact:
            np.testing.assert_array_equal(alone, expected, isa)
        else:
            limit = 1e-5 * max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(alone, expected, rtol=1e-5, atol=limit, err_msg=isa)


def convolution(
    size: tuple[int, int, int],
    outputs: int,
    kernel: tuple[int, int],
    *,
    stride: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    groups: int = 1,
    block: tuple[int, int] = (1, 1),
    density: float = 0.3,
    residual: bool = False,
    seed: int = 0,
) -> IntegerGraph:
    """One convolution whose bytes are the answer, with random blocks of weights kept."""
    rng = np.random.default_rng(seed)
    inputs = size[0] // groups
    shape = (-(-outputs // block[0]), -(-inputs // block[1]), *kernel)
    kept = np.repeat(np.repeat(rng.random(shape) < density, block[0], 0), block[1], 1)[:outputs, :inputs]
    weight = (rng.integers(-127, 128, (outputs, inputs, *kernel)) * kept).astype(np.int8)
    reach = np.sqrt(max(1, kept.sum() / outputs)) * 10_000
    scale = (rng.uniform(0.5, 1.5, outputs) * 60 / reach).astype(np.float32)
    bias = (120 - weight.reshape(outputs, -1).sum(axis=1, dtype=np.int64) * 128 * scale.astype(float)).astype(
        np.float32
    )
    fixed: dict[str, Any] = {"stride": Stride(stride, stride), "padding": Padding(*padding), "groups": groups}
    first = IntegerConv(
        output=1,
        input=0,
        weight=weight,
        scale=scale,
        bias=bias,
        zero=3,
        residual=None,
        residual_scale=0.0,
        **fixed,
    )
    operations: list[IntegerConv | Dequantize] = [first]
    if residual:
        again = np.ascontiguousarray(-weight)
        operations.append(
            IntegerConv(
                output=2,
                input=0,
                weight=again,
                scale=scale,
                bias=-bias,
                zero=200,
                residual=1,
                residual_scale=0.7,
                **fixed,
            )
        )
    last = len(operations)
    operations.append(Dequantize(output=last + 1, input=last, scale=1.0))
    zeros = (128, 3, 200)[: last + 1]
    return IntegerGraph(size, Affine(0.02, 128), tuple(operations), (*zeros, 0))


@pytest.mark.parametrize("block", [(1, 1), (1, 4), (4, 4)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 3), (7, 7)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_of_every_block_kernel_and_stride_equals_the_reference(
    block: tuple[int, int], kernel: tuple[int, int], stride: int
) -> None:
    padding = (kernel[0] // 2, kernel[1] // 2) * 2
    for seed, (size, outputs) in enumerate([((9, 15, 13), 10), ((16, 16, 16), 20), ((70, 5, 6), 7)]):
        graph = convolution(
            size, outputs, kernel, stride=stride, padding=padding, block=block, residual=seed == 1, seed=seed
        )
        equals_reference(graph, normal(3, *size, seed=seed))


@pytest.mark.parametrize(
    ("channels", "groups", "multiple"), [(1, 1, 1), (6, 6, 1), (8, 8, 2), (12, 3, 1), (24, 2, 1)]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_grouped_and_depthwise_convolutions_equal_the_reference(
    channels: int, groups: int, multiple: int, stride: int
) -> None:
    for size in ((13, 9), (32, 16)):
        graph = convolution(
            (channels, *size),
            channels * multiple,
            (3, 3),
            stride=stride,
            padding=(1, 1, 1, 1),
            groups=groups,
            density=0.9,
        )
        equals_reference(graph, normal(2, channels, *size))


@pytest.mark.parametrize(
    ("kernel", "stride", "width"),
    [((7, 7), 2, 1816), ((7, 7), 2, 1824), ((3, 3), 1, 5456), ((3, 3), 1, 5464)],
)
def test_a_wide_stem_over_three_channels_equals_the_reference(
    kernel: tuple[int, int], stride: int, width: int
) -> None:
    """Packed tap after tap, the rows of the wider ones are longer than 16-bit offsets reach."""
    padding = (kernel[0] // 2, kernel[1] // 2) * 2
    graph = convolution((3, 4, width), 4, kernel, stride=stride, padding=padding, density=1.0)
    equals_reference(graph, normal(2, 3, 4, width))


def test_a_margin_never_moves_a_tap_out_of_reach() -> None:
    """16,000 channels: 16-bit offsets reach the last one without a margin around the map, not with one."""
    graph = convolution((16_000, 4, 4), 2, (1, 2), padding=(0, 0, 0, 1), density=1.0)
    equals_reference(graph, normal(2, 16_000, 4, 4))


def test_a_window_too_large_for_memory_is_refused_before_anything_is_allocated() -> None:
    made = _kernels.Int8Network((3, 8, 8), 0.1, 0)
    side = 1 << 15
    with pytest.raises(ValueError, match="too large"):
        made.max_pool(output=1, input=0, kernel=(side, side), stride=(1, 1), padding=(side - 1,) * 4)
    with pytest.raises(ValueError, match="too large"):
        made.max_pool(output=1, input=0, kernel=(2**31 - 1,) * 2, stride=(1, 1), padding=(2**31 - 2,) * 4)


def test_a_step_of_more_items_than_16_bits_count_ends() -> None:
    """A map of 65,537 rows of vectors: one item each when it is loaded, 2 threads."""
    size = (1, 4 * 65_537, 1)
    graph = IntegerGraph(size, Affine(0.02, 128), (Dequantize(output=1, input=0, scale=1.0),), (128, 0))
    equals_reference(graph, normal(1, *size))


@pytest.mark.parametrize(
    "size", [(2**31 - 1, 1, 1), (1, 2**31 - 1, 1), (1, 1, 2**31 - 1), (2**31 - 1,) * 3, (64, 4096, 4097)]
)
def test_an_image_too_large_for_32_bits_is_refused(size: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=f"input: a map of {size[0]} x {size[1]} x {size[2]} is too large"):
        _kernels.Int8Network(size, 0.1, 0)


def test_a_global_average_whose_sums_might_not_fit_32_bits_is_refused() -> None:
    """2,901 x 2,902 pixels of 255 fit, 2,903 x 2,902 do not."""
    for height, fits in ((2901, True), (2903, False)):
        made = _kernels.Int8Network((1, height, 2902), 1.0, 0)
        if fits:
            made.mean(output=1, input=0, scale=1.0)
        else:
            with pytest.raises(ValueError, match="global average: its results do not fit 32 bits"):
                made.mean(output=1, input=0, scale=1.0)


@pytest.mark.parametrize("start", [-(2**31), -(2**20) - 1, 2**20 + 1, 2**31 - 1])
def test_a_slice_that_starts_far_outside_is_refused(start: int) -> None:
    made = _kernels.Int8Network((8, 8, 8), 1.0, 0)
    for axis in range(3):
        at = [0, 0, 0]
        at[axis] = start
        with pytest.raises(ValueError, match="slice or pad: start, step or size is out of range"):
            made.take(output=1, input=0, start=at, step=(1, 1, 1), size=(8, 8, 8))


def test_a_concatenation_too_large_for_32_bits_is_refused() -> None:
    """512 times 2^22 channels are 2^31, 1,024 times are 0 in 32 bits."""
    made = _kernels.Int8Network((1 << 22, 1, 1), 1.0, 0)
    for inputs in (512, 1024):
        with pytest.raises(ValueError, match=r"concatenation: a map of .* is too large"):
            made.concat(output=1, inputs=[0] * inputs, tables=np.zeros((inputs, 256), np.uint8), zero=0)


def test_pixels_that_are_no_numbers_saturate_alike_everywhere() -> None:
    size = (5, 9, 18)
    graph = IntegerGraph(size, Affine(0.02, 128), (Dequantize(output=1, input=0, scale=1.0),), (128, 0))
    images = normal(2, *size)
    images[:, :, ::2, ::3] = np.nan
    images[:, :, 1::2, ::3] = np.inf
    images[:, :, :, 1::3] = -np.inf
    equals_reference(graph, images)
    assert set(integer_reference.run(graph, images)[0, :2]) == {255 - 128, -128}


@st.composite
def convolutions(draw: st.DrawFn) -> IntegerGraph:
    """One convolution of 1 to 70 channels with any kernel, padding and share of zeros."""
    kernel = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    padding = tuple(draw(st.integers(0, kernel[axis % 2] - 1)) for axis in range(4))
    least = max(1, kernel[0] - padding[0] - padding[2]), max(1, kernel[1] - padding[1] - padding[3])
    high, wide = (draw(st.integers(one, max(one, 20))) for one in least)
    channels, outputs = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    groups = draw(st.sampled_from([1, 1, 1, channels]))
    return convolution(
        (channels, high, wide),
        outputs if groups == 1 else channels,
        kernel,
        stride=draw(st.integers(1, 2)),
        padding=(padding[0], padding[1], padding[2], padding[3]),
        groups=groups,
        block=draw(st.sampled_from([(1, 1), (1, 4), (4, 4), (4, 1)])),
        density=draw(st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0])),
        residual=draw(st.booleans()),
        seed=draw(st.integers(0, 99)),
    )


@given(convolutions())
@settings(deadline=None, max_examples=60, suppress_health_check=QUIET)
def test_any_convolution_is_packed_right(graph: IntegerGraph) -> None:
    equals_reference(graph, normal(2, *graph.input_shape, seed=5))


@pytest.mark.parametrize("size", [(16, 16), (32, 16), (13, 9)])
@pytest.mark.parametrize("count", [0, 1])
def test_averages_between_padded_convolutions_equal_the_reference(size: tuple[int, int], count: int) -> None:
    """One thread writes every halo in place, also around the maps that averages read and write."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1] * 4),
        helper.make_node(
            "AveragePool", ["a"], ["b"], kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=count
        ),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1] * 4),
        helper.make_node("AveragePool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["d", "w1"], ["e"], pads=[1] * 4),
        helper.make_node("Conv", ["d", "w2"], ["f"], strides=[2, 2]),
        helper.make_node("Conv", ["f", "w1"], ["g"], pads=[1] * 4),
        helper.make_node("Conv", ["e", "w2"], ["h"], strides=[2, 2]),
        helper.make_node("Conv", ["h", "w3"], ["i"]),
        helper.make_node("Add", ["g", "i"], ["j"]),
        helper.make_node("Flatten", ["j"], ["y"]),
    ]
    constants = {
        "w0": normal(6, 5, 3, 3, seed=1),
        "w1": normal(6, 6, 3, 3, seed=2),
        "w2": normal(6, 6, 2, 2, seed=3),
        "w3": normal(6, 6, 1, 1, seed=4),
    }
    graph, images = lower(small_model(nodes, (5, *size), constants)), normal(2, 5, *size, seed=9)
    equals_reference(integer(graph, ranges_of(graph, images)), images)


@given(small_networks())
@settings(deadline=None, max_examples=100, suppress_health_check=QUIET)
def test_any_small_network_equals_the_reference(model: onnx.ModelProto) -> None:
    graph = lower(model)
    images = normal(2, *graph.shapes[0])
    try:
        made = integer(graph, ranges_of(graph, images))
        network(made)  # refuses, for one, padding that is not below its window
    except UnsupportedModel:
        event("refused")
        return
    equals_reference(made, images)


@pytest.mark.parametrize("isa", ISAS)
def test_the_largest_weights_and_pixels_saturate_nowhere(isa: str) -> None:
    """Pairs of 255 * 127 exceed 16 bits: instruction sets that add them there get halves of the weights."""
    weight = np.full((3, 8, 3, 3), 127, np.int8)
    weight[1] = -127
    weight[2, ::2] = -127
    fixed: dict[str, Any] = {"stride": Stride(1, 1), "padding": Padding(1, 1, 1, 1), "zero": 100}
    scale, bias = np.full(3, 1e-4, np.float32), np.full(3, 100, np.float32)
    conv = IntegerConv(
        output=1, input=0, weight=weight, scale=scale, bias=bias, residual=None, residual_scale=0.0, **fixed
    )
    last = Dequantize(output=2, input=1, scale=1.0)
    graph = IntegerGraph((8, 9, 9), Affine(1.0, 255), (conv, last), (255, 100, 0))
    equals_reference(graph, np.zeros((1, 8, 9, 9), np.float32), [isa])  # every pixel is 255


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (14, 14), (32, 32), (5, 16), (2, 3)])
@pytest.mark.parametrize("width", [4, 6, 16])
def test_the_kernels_compute_the_integer_reference_bit_by_bit(
    width: int, size: tuple[int, int], stride: int
) -> None:
    model, images = residual_network(width, size, stride), normal(5, 3, *size, seed=9)
    graph = integer(lower(model), ranges_of(lower(model), images))
    expected = integer_reference.run(graph, images)
    for isa in ISAS:
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
    graph = integer(lower(model), ranges_of(lower(model), images))
    for isa in ISAS:
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
    graph = integer(lower(model), ranges_of(lower(model), images))
    expected = integer_reference.run(graph, images)
    isa = ISAS[0]
    for plan in (None, *range(4)):
        program = network(graph).compile(_kernels.Workers(2), isa, plan)
        for found in (program.run(images), program.run(images[:1]), program.run(images)):
            np.testing.assert_allclose(found, expected[: len(found)], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="plan -1"):
        network(graph).compile(_kernels.Workers(1), isa, -1)


@pytest.mark.parametrize("density", [0.0, 0.02, 1.0])
def test_layers_from_empty_to_dense_are_packed_right(density: float) -> None:
    model, images = residual_network(12, (16, 16), density=density), normal(2, 3, 16, 16, seed=9)
    graph = integer(lower(model), ranges_of(lower(model), images))
    for isa in ISAS:
        found = network(graph).compile(_kernels.Workers(1), isa).run(images)
        np.testing.assert_allclose(found, integer_reference.run(graph, images), rtol=1e-5, atol=1e-5)


def test_every_int8_kernel_of_the_table_is_there_for_every_instruction_set() -> None:
    tables = [_kernels.int8_kernels(isa) for isa in ISAS]
    assert all(table == tables[0] for table in tables)
    assert {(rows, stride) for rows, _, _, stride in tables[0]} == {(1, 1), (1, 2), (4, 1), (4, 2)}


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


def test_the_instruction_set_of_int8_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    for isa in ISAS:
        monkeypatch.setenv("DOWNSHIFT_FORCE_ISA", isa)
        assert _kernels.int8_isa() == isa
        assert _kernels.isa() in {isa, "avx2", "avx512"}  # the float kernels know no VNNI
    for isa in _kernels.isas():
        monkeypatch.setenv("DOWNSHIFT_FORCE_ISA", isa)
        assert _kernels.int8_isa() in {isa, ISAS[0]}
    monkeypatch.setenv("DOWNSHIFT_FORCE_ISA", "mmx")
    with pytest.raises(ValueError, match=r"DOWNSHIFT_FORCE_ISA=mmx: this machine runs .*portable"):
        _kernels.int8_isa()
