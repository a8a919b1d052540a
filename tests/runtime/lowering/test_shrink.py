"""Channels that cannot matter leave; answers stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from downshift.runtime.lowering.graph import Conv, Graph, Linear
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.reference import run
from downshift.runtime.lowering.shrink import shrunk
from tests.runtime.random_onnx import small_networks
from tests.runtime.small_onnx import normal, small_model

node = helper.make_node
Floats = NDArray[np.float32]
Model = tuple[list[onnx.NodeProto], dict[str, Floats]]
IMAGE = (3, 6, 5)
HEAD = [
    node("GlobalAveragePool", ["last"], ["p"]),
    node("Flatten", ["p"], ["f"]),
    node("MatMul", ["f", "m"], ["y"]),
]


def channels(graph: Graph) -> list[int]:
    return [graph.shapes[op.output][0] for op in graph.operations if isinstance(op, Conv)]


def smaller(nodes: list[onnx.NodeProto], constants: dict[str, Floats]) -> Graph:
    """The shrunk graph, which answers what the whole one does."""
    graph = lower(small_model([*nodes, *HEAD], IMAGE, constants))
    result = shrunk(graph)
    images = normal(2, *IMAGE)
    np.testing.assert_allclose(run(result, images), run(graph, images), rtol=1e-5, atol=1e-5)
    return result


def dead(weight: Floats, count: int) -> Floats:
    """`weight` with its first `count` output channels removed."""
    weight[:count] = 0
    return weight


def chain(bias: Floats, padding: int = 1) -> Model:
    constants = {
        "w": dead(normal(48, 3, 3, 3), 20),
        "b": bias,
        "v": normal(32, 48, 3, 3),
        "m": normal(32, 4),
    }
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "v"], ["last"], pads=[padding] * 4),
    ]
    return nodes, constants


def test_dead_channels_leave_and_the_width_is_a_multiple_of_sixteen() -> None:
    assert channels(smaller(*chain(np.zeros(48, np.float32)))) == [32, 32]


def test_a_negative_bias_in_front_of_relu_is_as_dead() -> None:
    assert channels(smaller(*chain(np.full(48, -1, np.float32)))) == [32, 32]


def test_a_positive_constant_stays_in_front_of_padding() -> None:
    assert channels(smaller(*chain(np.full(48, 1, np.float32)))) == [48, 32]


def test_a_positive_constant_moves_into_the_bias_where_there_is_no_padding() -> None:
    assert channels(smaller(*chain(np.full(48, 1, np.float32), padding=0))) == [32, 32]


def test_a_channel_nobody_reads_leaves() -> None:
    nodes, constants = chain(np.zeros(48, np.float32))
    constants["w"] = normal(48, 3, 3, 3)
    constants["v"][:, 5:30] = 0
    assert channels(smaller(nodes, constants)) == [32, 32]


def test_removal_carries_on_to_the_layers_before() -> None:
    constants = {
        "u": normal(40, 3, 3, 3),
        "w": normal(48, 40, 3, 3),
        "v": normal(32, 48, 1, 1),
        "m": normal(32, 4),
    }
    constants["v"][:, 10:] = 0
    constants["w"][:16, 12:] = 0
    nodes = [
        node("Conv", ["x", "u"], ["a"], pads=[1] * 4),
        node("Conv", ["a", "w"], ["b"], pads=[1] * 4),
        node("Conv", ["b", "v"], ["last"]),
    ]
    assert channels(smaller(nodes, constants)) == [16, 16, 32]


def residual_block(first_dead: int, second_dead: int) -> Model:
    constants = {
        "u": dead(normal(32, 3, 1, 1), first_dead),
        "w": dead(normal(32, 32, 3, 3), second_dead),
        "m": normal(32, 4),
    }
    nodes = [
        node("Conv", ["x", "u"], ["s"]),
        node("Conv", ["s", "w"], ["c"], pads=[1] * 4),
        node("Add", ["c", "s"], ["a"]),
        node("Relu", ["a"], ["last"]),
    ]
    return nodes, constants


@pytest.mark.parametrize(
    ("first", "second", "widths"),
    [(16, 16, [16, 16]), (16, 0, [32, 32]), (0, 16, [32, 32]), (20, 16, [16, 16])],
)
def test_a_residual_stream_loses_what_all_its_members_lose(
    first: int, second: int, widths: list[int]
) -> None:
    assert channels(smaller(*residual_block(first, second))) == widths


def test_inside_a_block_channels_leave_whatever_the_stream_keeps() -> None:
    constants = {
        "u": normal(32, 3, 1, 1),
        "w": dead(normal(32, 32, 3, 3), 16),
        "v": normal(32, 32, 3, 3),
        "m": normal(32, 4),
    }
    nodes = [
        node("Conv", ["x", "u"], ["s"]),
        node("Conv", ["s", "w"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "v"], ["d"], pads=[1] * 4),
        node("Add", ["d", "s"], ["last"]),
    ]
    assert channels(smaller(nodes, constants)) == [32, 16, 32]


def test_depthwise_convolutions_follow() -> None:
    constants = {
        "u": dead(normal(32, 3, 1, 1), 16),
        "d": normal(32, 1, 3, 3),
        "v": normal(16, 32, 1, 1),
        "m": normal(16, 4),
    }
    nodes = [
        node("Conv", ["x", "u"], ["s"]),
        node("Conv", ["s", "d"], ["c"], pads=[1] * 4, group=32),
        node("Conv", ["c", "v"], ["last"]),
    ]
    graph = smaller(nodes, constants)
    assert channels(graph) == [16, 16, 16]
    assert [op.groups for op in graph.operations if isinstance(op, Conv)] == [1, 16, 1]


def test_a_network_that_is_wholly_dead_still_answers_its_bias() -> None:
    nodes, constants = chain(np.full(48, 0.5, np.float32))
    constants["w"][:] = 0
    constants["v"][:] = 0
    assert channels(smaller(nodes, constants)) == [16, 16]


def test_a_graph_without_dead_channels_is_returned_as_it_is() -> None:
    nodes, constants = residual_block(0, 0)
    graph = lower(small_model([*nodes, *HEAD], IMAGE, constants))
    assert shrunk(graph) is graph


def pruned(graph: Graph, seed: int) -> Graph:
    """The graph with random output channels of its layers emptied and random input channels ignored."""
    random = np.random.default_rng(seed)
    operations = []
    for operation in graph.operations:
        if isinstance(operation, Conv | Linear):
            weight, bias = operation.weight.copy(), operation.bias.copy()
            weight[random.random(weight.shape[0]) < 0.5] = 0
            weight[:, random.random(weight.shape[1]) < 0.3] = 0
            bias[random.random(len(bias)) < 0.5] = 0
            operation = replace(operation, weight=weight, bias=bias)  # noqa: PLW2901
        operations.append(operation)
    return Graph(tuple(operations), graph.shapes, graph.output)


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(small_networks(), st.integers(0, 99), st.sampled_from([1, 2, 16]))
def test_random_networks_answer_the_same(
    monkeypatch: pytest.MonkeyPatch, model: onnx.ModelProto, seed: int, width: int
) -> None:
    monkeypatch.setattr("downshift.runtime.lowering.shrink.WIDTH", width)
    graph = pruned(lower(model), seed)
    images = normal(2, *graph.shapes[0])
    expected = run(graph, images)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(run(shrunk(graph), images) / scale, expected / scale, atol=2e-6)
