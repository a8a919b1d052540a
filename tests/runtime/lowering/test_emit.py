"""Graphs written back as ONNX compute what they computed."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from onnx import helper

from downshift.runtime.lowering.emit import emit
from downshift.runtime.lowering.graph import Graph
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.reference import run
from tests.runtime.random_onnx import small_networks
from tests.runtime.small_onnx import answer, normal, small_model


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(small_networks())
def test_a_random_network_survives_the_way_there_and_back(model: onnx.ModelProto) -> None:
    graph = lower(model)
    images = normal(2, *graph.shapes[0])
    expected = run(graph, images)
    written = emit(graph)
    onnx.checker.check_model(written, full_check=True)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(answer(written, images) / scale, expected / scale, atol=2e-5)
    again = lower(written)
    assert [type(one) for one in again.operations] == [type(one) for one in graph.operations]
    np.testing.assert_allclose(run(again, images) / scale, expected / scale, atol=1e-6)


def test_a_network_of_nothing_is_the_identity() -> None:
    images = normal(2, 1, 2, 3)
    np.testing.assert_array_equal(answer(emit(Graph((), ((1, 2, 3),), 0)), images), images)


def test_an_affine_map_of_a_row_is_written_too() -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Mul", ["f", "k"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    graph = lower(small_model(nodes, (2, 1, 2), {"k": normal(4)}))
    images = normal(3, 2, 1, 2)
    np.testing.assert_allclose(answer(emit(graph), images), run(graph, images), rtol=1e-6)
