"""The compiled kernels on every instruction set of this machine, held to the double precision oracle."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downshift.runtime import _kernels
from downshift.runtime.engines.sparse_network import network
from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering.graph import (
    Activation,
    Add,
    AveragePool,
    ChannelAffine,
    Concat,
    Conv,
    Flatten,
    GlobalAveragePool,
    Graph,
    Linear,
    MaxPool,
    Operation,
    Pad,
    Padding,
    Scale,
    Shape,
    Slice,
    Stride,
)
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.reference import run as oracle
from tests.runtime.random_onnx import small_networks
from tests.runtime.small_onnx import normal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray

LANES = {"avx512": 16, "avx2": 8, "portable": 4}
ISAS = _kernels.isas()
NO_PADDING = Padding(0, 0, 0, 0)


def sparse(shape: tuple[int, ...], sparsity: float, seed: int = 0) -> NDArray[np.float32]:
    """Weights of a size that keeps outputs near 1, `sparsity` of them zero."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal(shape) * (rng.random(shape) >= sparsity)
    scale: float = max(1.0, float(np.prod(shape[1:]))) ** 0.5
    return (weight / scale).astype(np.float32)


def windowed(size: int, kernel: int, stride: int, before: int, after: int) -> int:
    return (size + before + after - kernel) // stride + 1


def conv_graph(image: Shape, weight: NDArray[np.float32], **options: Any) -> Graph:
    """One convolution, its output flattened: what a kernel writes is what the program answers."""
    stride = options.setdefault("stride", Stride(1, 1))
    padding = options.setdefault("padding", NO_PADDING)
    outputs, _, height, width = weight.shape
    shape = (
        outputs,
        windowed(image[1], height, stride.height, padding.top, padding.bottom),
        windowed(image[2], width, stride.width, padding.left, padding.right),
    )
    conv = Conv(1, 0, weight, normal(outputs, seed=3), **options)
    return Graph((conv, Flatten(2, 1)), (image, shape, (int(np.prod(shape)),)), 2)


def agrees(
    graph: Graph, isa: str, batch: int = 1, threads: int = 1, tilings: Sequence[_kernels.Tiling] = ()
) -> None:
    images = normal(batch, *graph.shapes[0], seed=7)
    program = network(graph).compile(_kernels.Workers(threads), tilings, isa)
    expected = oracle(graph, images)
    got = program.run(images)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * max(1e-3, np.abs(expected).max()))


def tiling(vectors: int, rows: int, block: int, split: bool, parts: int) -> _kernels.Tiling:
    return _kernels.Tiling(vectors=vectors, rows=rows, block=block, split=split, parts=parts)


def width_for(columns: str, vectors: int, lanes: int) -> int | None:
    """A map width at which a kernel of these columns serves, or None where it never does."""
    rows = {"row1": 1, "row2": 2, "row4": 4, "rows": vectors}
    pitch = {"pitch4": 4, "pitch8": 8}
    if columns == "none":
        return 5
    if columns in pitch:
        return pitch[columns] - 1 if pitch[columns] < lanes else None
    return rows[columns] * lanes - 1


KERNELS = [
    (isa, kernel.vectors, kernel.columns, kernel.rows)
    for isa in ISAS
    for kernel in _kernels.conv_kernels(isa)
    if width_for(kernel.columns, kernel.vectors, LANES[isa]) is not None
]


@pytest.mark.parametrize(("isa", "vectors", "columns", "rows"), KERNELS)
def test_every_kernel_of_the_table(isa: str, vectors: int, columns: str, rows: int) -> None:
    side = 1 if columns == "none" else 3
    width = width_for(columns, vectors, LANES[isa])
    assert width is not None
    weight = sparse((6, 9, side, side), 0.6)
    graph = conv_graph((9, 7, width), weight, padding=Padding(*[side // 2] * 4), activation=Activation.RELU)
    for block, split, parts in [(99, False, 1), (2, False, 2), (4, True, 1)]:
        agrees(graph, isa, threads=parts, tilings=[tiling(vectors, rows, block, split, parts)])


def test_a_finished_network_stays_as_it_is() -> None:
    """Programs and tunings read it while other threads hold the GIL."""
    made = network(conv_graph((2, 4, 4), sparse((3, 2, 1, 1), 0.5)))
    with pytest.raises(ValueError, match="output tensor 3: the network is finished"):
        made.global_average(3, 1)
    with pytest.raises(ValueError, match="answer: the network is finished"):
        made.finish(2)


def test_a_step_of_more_items_than_16_bits_count_ends() -> None:
    """65,536 rows of one vector, one to a tile, 2 threads."""
    conv = Conv(1, 0, sparse((1, 1, 1, 1), 0.0), normal(1), stride=Stride(1, 1), padding=NO_PADDING)
    image = (1, 1 << 16, 4)
    graph = Graph((conv, GlobalAveragePool(2, 1), Flatten(3, 2)), (image, image, (1, 1, 1), (1,)), 3)
    agrees(graph, "portable", threads=2, tilings=[tiling(1, 1, 1, False, 1)])


@st.composite
def convolutions(draw: st.DrawFn) -> Graph:
    side = st.integers(1, 33)
    kernel = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    padding = Padding(*draw(st.tuples(*[st.integers(0, 3)] * 4)))
    image = (0, max(draw(side), kernel[0]), max(draw(side), kernel[1]))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    inputs, outputs = (
        draw(st.sampled_from([1, 2, 3, 5, 7, 13])),
        draw(st.sampled_from([1, 2, 3, 4, 5, 11, 17])),
    )
    weight = sparse((outputs * groups, inputs, *kernel), draw(st.sampled_from([0.0, 0.3, 0.9, 0.98, 1.0])))
    return conv_graph(
        (inputs * groups, *image[1:]),
        weight,
        stride=Stride(*draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (2, 2), (1, 2), (3, 1), (3, 3)]))),
        padding=padding,
        groups=groups,
        activation=draw(st.sampled_from(Activation)),
    )


@settings(max_examples=150, deadline=None)
@given(convolutions(), st.sampled_from(ISAS), st.integers(1, 9), st.integers(1, 3))
def test_any_convolution(graph: Graph, isa: str, batch: int, threads: int) -> None:
    agrees(graph, isa, batch, threads)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("image", [(1, 9000, 2), (1, 2, 9000), (2, 70, 70)])
def test_maps_too_large_for_the_fast_paths(isa: str, image: Shape) -> None:
    graph = conv_graph(
        image, sparse((1, image[0], 3, 3), 0.2), stride=Stride(1, 1), padding=Padding(1, 1, 1, 1)
    )
    agrees(graph, isa)


@settings(max_examples=40, deadline=None)
@given(small_networks(), st.sampled_from(ISAS), st.integers(1, 3))
def test_any_small_network(model: onnx.ModelProto, isa: str, threads: int) -> None:
    agrees(lower(model), isa, 2, threads)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", [1, 4, 7, 8, 17, 32])
def test_residuals_in_place_and_strides_that_share_their_pixels(isa: str, side: int) -> None:
    half = (side - 1) // 2 + 1
    one, two = Stride(1, 1), Stride(2, 2)
    around, relu = Padding(1, 1, 1, 1), Activation.RELU
    operations = (
        Conv(1, 0, sparse((8, 3, 3, 3), 0), normal(8), one, around, activation=relu),
        Conv(2, 1, sparse((12, 8, 3, 3), 0.8), normal(12), two, around, activation=relu),
        Conv(3, 1, sparse((12, 8, 1, 1), 0.5), normal(12), two, NO_PADDING),
        Conv(4, 2, sparse((12, 12, 3, 3), 0.9), normal(12), one, around, activation=relu, residual=3),
        Conv(5, 4, sparse((12, 12, 3, 3), 0.9), normal(12), one, around, residual=4),
        GlobalAveragePool(6, 5),
        Scale(7, 5, 6),
        Flatten(8, 7),
        Linear(9, 8, sparse((10, 12 * half * half), 0.9), normal(10)),
    )
    wide, narrow = (8, side, side), (12, half, half)
    shapes = ((3, side, side), wide, *[narrow] * 4, (12, 1, 1), narrow, (12 * half * half,), (10,))
    for threads in (1, 2):
        agrees(Graph(operations, shapes, 9), isa, 3, threads)


@pytest.mark.parametrize("isa", ISAS)
def test_pools_pieces_and_affine_maps(isa: str) -> None:
    window, two = (3, 2), Stride(2, 1)
    operations = (
        MaxPool(1, 0, window, two, Padding(1, 1, 0, 0)),
        AveragePool(2, 0, window, two, Padding(1, 1, 0, 0), count_padding=False),
        AveragePool(3, 0, window, two, Padding(1, 1, 0, 0), count_padding=True),
        Add(4, 1, 2, Activation.SILU),
        Concat(5, (4, 3)),
        ChannelAffine(6, 5, normal(10), normal(10, seed=1), Activation.SIGMOID),
        Slice(7, 6, (1, 0, 1), (3, 1, 2), (3, 4, 4)),
        Pad(8, 7, (2, 0, 1), (1, 1, 0)),
        Flatten(9, 8),
        ChannelAffine(10, 9, normal(6 * 25), normal(6 * 25, seed=1), Activation.NONE),
    )
    pooled = (5, 4, 9)
    shapes = ((5, 8, 9), *[pooled] * 4, *[(10, 4, 9)] * 2, (3, 4, 4), (6, 5, 5), (150,), (150,))
    agrees(Graph(operations, shapes, 10), isa, 2, 2)


@pytest.mark.parametrize("isa", ISAS)
def test_blocks_of_four_output_channels_are_found(isa: str) -> None:
    weight = np.repeat(sparse((4, 32, 3, 3), 0.8), 4, axis=0)
    graph = conv_graph((32, 16, 16), weight, padding=Padding(1, 1, 1, 1))
    program = network(graph).compile(_kernels.Workers(1), isa=isa)
    assert program.tilings[0].rows == 4
    agrees(graph, isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("large", "sparsity", "most_bytes"), [(False, 0.5, 5.2), (False, 0.97, 8.0), (True, 0.9, 7.5)]
)
def test_a_nonzero_takes_little_more_than_its_weight_and_one_or_two_bytes(
    isa: str, large: bool, sparsity: float, most_bytes: float
) -> None:
    """One byte where the next is near, two where the map is large or the weights are few."""
    side = 32 if large else min(8, LANES[isa])
    weight = sparse((32, 128, 3, 3), sparsity)
    graph = conv_graph((128, side, side), weight, padding=Padding(1, 1, 1, 1))
    program = network(graph).compile(_kernels.Workers(1), isa=isa)
    assert program.stream_bytes < most_bytes * np.count_nonzero(weight)
    agrees(graph, isa)


def test_a_batch_is_its_examples_and_parallel_callers_take_turns() -> None:
    graph = conv_graph((5, 9, 9), sparse((7, 5, 3, 3), 0.7), activation=Activation.HARD_SWISH)
    program = network(graph).compile(_kernels.Workers(3))
    images = normal(8, 5, 9, 9)
    alone = np.concatenate([program.run(image[None]) for image in images])
    with ThreadPoolExecutor(6) as pool:
        for batch in pool.map(program.run, [images] * 60):
            np.testing.assert_array_equal(batch, alone)


def test_tuned_tilings_compute_the_same() -> None:
    graph = conv_graph((16, 12, 12), sparse((24, 16, 3, 3), 0.8), padding=Padding(1, 1, 1, 1))
    made, workers = network(graph), _kernels.Workers(2)
    assert made.compile(workers, made.tuning(workers).best).tilings == made.compile(workers).tilings
    for isa in ISAS:
        tuning = made.tuning(workers, isa)
        pieces = 1
        while tuning.advance(0.0):
            pieces += 1
        assert pieces > 9
        assert not tuning.advance(0.0)
        assert made.compile(workers, tuning.best, isa).tilings == tuning.best
        agrees(graph, isa, threads=2, tilings=tuning.best)


def test_tuning_keeps_what_it_needs_and_takes_turns_with_runs() -> None:
    graph = conv_graph((5, 9, 9), sparse((7, 5, 3, 3), 0.7))
    workers = _kernels.Workers(2)
    program, images = network(graph).compile(workers), normal(2, 5, 9, 9)
    tuning = network(graph).tuning(workers)  # nobody else holds this network
    expected = program.run(images)
    with ThreadPoolExecutor(2) as pool:
        searching = pool.submit(lambda: [None for _ in iter(lambda: tuning.advance(0.0), False)])
        for answer in pool.map(program.run, [images] * 60):
            np.testing.assert_array_equal(answer, expected)
        searching.result()


def test_the_instruction_set_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    for isa in ISAS:
        monkeypatch.setenv("DOWNSHIFT_FORCE_ISA", isa)
        assert _kernels.isa() == isa
    monkeypatch.setenv("DOWNSHIFT_FORCE_ISA", "mmx")
    with pytest.raises(ValueError, match=r"DOWNSHIFT_FORCE_ISA=mmx: this machine runs .*portable"):
        _kernels.isa()


def test_a_batch_that_does_not_fit_is_refused() -> None:
    program = network(conv_graph((2, 4, 4), sparse((1, 2, 1, 1), 0))).compile(_kernels.Workers(1))
    for shape in [(1, 3, 4, 4), (1, 2, 4, 5), (0, 2, 4, 4)]:
        with pytest.raises(ValueError, match=r"needs \(1 or more, 2, 4, 4\)"):
            program.run(np.zeros(shape, np.float32))
    unreadable: list[NDArray[Any]] = [
        np.zeros((1, 2, 4, 4)),
        np.zeros((2, 4, 4), np.float32),
        np.zeros((1, 2, 4, 8), np.float32)[..., ::2],
    ]
    for batch in unreadable:
        with pytest.raises(TypeError):
            program.run(batch)


@pytest.mark.parametrize(
    "tilings",
    [
        [tiling(8, 1, 4, False, 1)] * 2,
        [tiling(3, 1, 4, False, 1)],
        [tiling(8, 2, 4, False, 1)],
        [tiling(8, 1, 0, False, 1)],
        [tiling(8, 1, 4, False, 0)],
        [tiling(8, 1, 4, False, 65)],
    ],
)
def test_a_tiling_that_does_not_fit_is_refused(tilings: list[_kernels.Tiling]) -> None:
    made = network(conv_graph((2, 4, 4), sparse((1, 2, 1, 1), 0)))
    with pytest.raises(ValueError, match="tiling"):
        made.compile(_kernels.Workers(1), tilings)


NAN = np.full((1, 2, 1, 1), np.nan, np.float32)
FINE = sparse((1, 2, 1, 1), 0)
MALFORMED: dict[str, tuple[Operation, ...]] = {
    "is unknown": (Conv(1, 5, FINE, normal(1), Stride(1, 1), NO_PADDING),),
    "is not the next one": (Conv(2, 0, FINE, normal(1), Stride(1, 1), NO_PADDING),),
    "groups do not divide": (Conv(1, 0, FINE, normal(1), Stride(1, 1), NO_PADDING, groups=3),),
    "weight: has 3 values, needs 2": (
        Conv(1, 0, sparse((1, 3, 1, 1), 0), normal(1), Stride(1, 1), NO_PADDING),
    ),
    "weight and bias disagree": (Conv(1, 0, FINE, normal(2), Stride(1, 1), NO_PADDING),),
    "not finite": (Conv(1, 0, NAN, normal(1), Stride(1, 1), NO_PADDING),),
    "does not fit": (Conv(1, 0, sparse((1, 2, 9, 9), 0), normal(1), Stride(1, 1), NO_PADDING),),
    "with stride 0": (Conv(1, 0, FINE, normal(1), Stride(0, 1), NO_PADDING),),
    "padding -1": (Conv(1, 0, FINE, normal(1), Stride(1, 1), Padding(-1, 0, 0, 0)),),
    "residual": (Conv(1, 0, FINE, normal(1), Stride(1, 1), NO_PADDING, residual=0),),
    "a window holds no pixel": (MaxPool(1, 0, (2, 2), Stride(1, 1), Padding(2, 0, 0, 0)),),
    "is not flat": (Linear(1, 0, normal(3, 2), normal(3)),),
    "cannot add": (Flatten(1, 0), Add(2, 0, 1)),
    "scale or shift": (ChannelAffine(1, 0, normal(3), normal(3), Activation.NONE),),
    "lies outside": (Slice(1, 0, (1, 0, 0), (2, 1, 1), (2, 4, 4)),),
}


@pytest.mark.parametrize("reason", MALFORMED)
def test_a_malformed_graph_is_refused_with_its_reason(reason: str) -> None:
    graph = Graph(MALFORMED[reason], ((2, 4, 4), *[(2, 4, 4)] * 3), len(MALFORMED[reason]))
    with pytest.raises(UnsupportedModel, match=reason):
        network(graph)


def test_a_tiling_is_a_value() -> None:
    one, same, other = tiling(8, 1, 4, False, 1), tiling(8, 1, 4, False, 1), tiling(8, 1, 4, True, 1)
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != (8, 1, 4, False, 1)
    assert repr(one) == "Tiling(vectors=8, rows=1, block=4, split=False, parts=1)"
    assert (one.vectors, one.rows) == (8, 1)
    with pytest.raises(AttributeError):
        one.vectors = 4  # type: ignore[misc]


def test_tilings_and_pieces_name_their_fields() -> None:
    with pytest.raises(TypeError):
        _kernels.Tiling(8, 1, 4, False, 1)  # type: ignore[call-arg, misc]
    with pytest.raises(TypeError):
        _kernels.Tiling(vectors=8.5, rows=1, block=4, split=False, parts=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _kernels.Piece(0, 3)  # type: ignore[call-arg, misc]


def test_every_step_of_a_program_has_its_best_time() -> None:
    program = network(conv_graph((2, 4, 4), sparse((1, 2, 1, 1), 0))).compile(_kernels.Workers(1))
    times = program.measure(2)
    assert times
    assert all(time.step and time.seconds >= 0.0 for time in times)


def test_the_stub_is_the_one_that_is_generated(tmp_path: Path) -> None:
    stub = Path("downshift", "runtime", "_kernels.pyi")
    command = ["-m", "nanobind.stubgen", "--quiet", "--module", "downshift.runtime._kernels", "--output-file"]
    subprocess.run([sys.executable, *command, str(tmp_path / stub.name)], check=True)
    fresh, kept = tmp_path / stub.name, Path(__file__).parents[2] / stub
    assert kept.read_text() == fresh.read_text(), f"it is stale: run python {' '.join(command)} {stub}"
