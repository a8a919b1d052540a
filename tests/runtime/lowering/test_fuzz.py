"""Lowering under fire: random graphs agree with onnxruntime, broken ones are refused and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.lowering.lower import lower
from downshift.runtime.lowering.reference import run
from tests.runtime.random_onnx import small_networks
from tests.runtime.small_onnx import answer, normal, small_model

if TYPE_CHECKING:
    from collections.abc import Callable

node = helper.make_node
IMAGE = (4, 6, 5)
quiet = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def base_model() -> onnx.ModelProto:
    """A small network with something of everything that can be broken."""
    constants = {
        "w1": normal(4, 4, 3, 3),
        "b1": normal(4),
        "w2": normal(4, 4, 1, 1),
        "scale": np.ones(4, np.float32),
        "shift": np.zeros(4, np.float32),
        "var": np.ones(4, np.float32),
        "half": np.float32(0.5),
        "axes": np.array([2, 3]),
        "pads": np.array([0, 1, 0, 0, 0, 1, 0, 0]),
        "start": np.array([0, 0]),
        "end": np.array([9, 9]),
        "step": np.array([2, 2]),
        "m": normal(3, 6),
        "rest": np.array([-1]),
    }
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], kernel_shape=[3, 3], group=1),
        node("BatchNormalization", ["c1", "scale", "shift", "shift", "var"], ["n1"], epsilon=1e-5),
        node("Relu", ["n1"], ["r1"]),
        node("Conv", ["r1", "w2"], ["c2"]),
        node("Add", ["c2", "x"], ["a"]),
        node("Sigmoid", ["a"], ["g"]),
        node("Mul", ["a", "g"], ["silu"]),
        node("MaxPool", ["silu"], ["p"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Slice", ["p", "start", "end", "axes", "step"], ["s"]),
        node("Pad", ["s", "pads"], ["d"]),
        node("AveragePool", ["d"], ["v"], kernel_shape=[2, 2]),
        node("Mul", ["v", "half"], ["h"]),
        node("ReduceMean", ["h", "axes"], ["e"], keepdims=1),
        node("Shape", ["e"], ["shape"], end=1),
        node("Concat", ["shape", "rest"], ["target"], axis=0),
        node("Reshape", ["e", "target"], ["f"]),
        node("Gemm", ["f", "m"], ["y"], transB=1),
    ]
    return small_model(nodes, IMAGE, constants)


BASE = base_model().SerializeToString()
integers = st.sampled_from(
    [-(2**63), -(2**31), -7, -2, -1, 0, 1, 2, 3, 5, 7, 8, 255, 2**20, 2**31, 2**63 - 1]
)

ATTRIBUTES = "pads strides dilations group axis axes kernel_shape ceil_mode to perm auto_pad mode alpha"
ATTRIBUTES += " epsilon allowzero value keepdims start end transB"


def attempt(model: onnx.ModelProto) -> None:
    """Lowering answers with a graph that can be executed, or with `UnsupportedModel`."""
    try:
        graph = lower(model)
    except UnsupportedModel:
        return
    if len(graph.shapes[0]) == 3 and max(np.prod(shape) for shape in graph.shapes) < 1 << 16:
        with np.errstate(all="ignore"):
            got = run(graph, normal(2, *graph.shapes[0]))
        assert got.shape == (2, *graph.shapes[graph.output])


def test_the_unbroken_model_lowers_and_agrees() -> None:
    model = onnx.load_from_string(BASE)
    images = normal(3, *IMAGE)
    np.testing.assert_allclose(run(lower(model), images), answer(model, images), rtol=1e-5, atol=1e-5)


class Breaker:
    """Ways to break a model, drawn by Hypothesis."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], model: onnx.ModelProto) -> None:
        self.draw, self.graph, self.model = draw, model.graph, model

    def node(self) -> onnx.NodeProto:
        chosen: onnx.NodeProto = self.draw(st.sampled_from(list(self.graph.node)))
        return chosen

    def name(self) -> str:
        known = [name for one in self.graph.node for name in (*one.input, *one.output)]
        chosen: str = self.draw(st.sampled_from([*known, "", "nowhere"]))
        return chosen

    def delete_node(self) -> None:
        del self.graph.node[self.draw(st.integers(0, len(self.graph.node) - 1))]

    def swap_nodes(self) -> None:
        first, second = self.node(), self.node()
        kept = onnx.NodeProto()
        kept.CopyFrom(first)
        first.CopyFrom(second)
        second.CopyFrom(kept)

    def rewire_input(self) -> None:
        one = self.node()
        if one.input:
            one.input[self.draw(st.integers(0, len(one.input) - 1))] = self.name()

    def drop_inputs(self) -> None:
        one = self.node()
        del one.input[self.draw(st.integers(0, 3)) :]

    def more_inputs(self) -> None:
        self.node().input.append(self.name())

    def rename_output(self) -> None:
        one = self.node()
        if one.output:
            one.output[0] = self.name()

    def drop_outputs(self) -> None:
        del self.node().output[:]

    def change_operator(self) -> None:
        known = [one.op_type for one in self.graph.node]
        extra = ["Concat", "Div", "Sub", "Flatten", "Squeeze", "Unsqueeze", "MatMul", "Clip", "Cast", "If"]
        more = ["Expand", "Gather", "Transpose", "CastLike", "ConstantOfShape", "Constant", "HardSwish", ""]
        self.node().op_type = self.draw(st.sampled_from([*known, *extra, *more]))

    def change_attribute(self) -> None:
        one = self.node()
        names = [attribute.name for attribute in one.attribute]
        name = self.draw(st.sampled_from([*names, *ATTRIBUTES.split()]))
        lists = st.lists(integers, max_size=8)
        texts = st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "reflect", "\x00"])
        value = self.draw(st.one_of(integers, lists, texts, st.floats(width=32)))
        for attribute in list(one.attribute):
            if attribute.name == name:
                one.attribute.remove(attribute)
        one.attribute.append(
            helper.make_attribute(name, value, attr_type=onnx.AttributeProto.INTS if value == [] else None)
        )

    def unknown_attribute_kind(self) -> None:
        one = self.node()
        if one.attribute:
            one.attribute[0].type = self.draw(st.sampled_from([0, 2, 4, 5, 6, 8, 11, 14]))

    def initializer(self) -> onnx.TensorProto:
        chosen: onnx.TensorProto = self.draw(st.sampled_from(list(self.graph.initializer)))
        return chosen

    def change_dimension(self) -> None:
        tensor = self.initializer()
        if tensor.dims:
            tensor.dims[self.draw(st.integers(0, len(tensor.dims) - 1))] = self.draw(integers)

    def add_dimension(self) -> None:
        self.initializer().dims.append(self.draw(integers))

    def truncate_data(self) -> None:
        tensor = self.initializer()
        tensor.raw_data = tensor.raw_data[: self.draw(st.integers(0, max(len(tensor.raw_data), 1)))]

    def change_values(self) -> None:
        tensor = self.initializer()
        tensor.raw_data = self.draw(st.binary(min_size=len(tensor.raw_data), max_size=len(tensor.raw_data)))

    def change_type(self) -> None:
        self.initializer().data_type = self.draw(st.integers(0, 30))

    def elsewhere(self) -> None:
        self.initializer().data_location = TensorProto.EXTERNAL

    def delete_initializer(self) -> None:
        del self.graph.initializer[self.draw(st.integers(0, len(self.graph.initializer) - 1))]

    def change_image(self) -> None:
        shape = self.graph.input[0].type.tensor_type.shape
        if shape.dim:
            shape.dim[self.draw(st.integers(0, len(shape.dim) - 1))].dim_value = self.draw(integers)

    def change_rank(self) -> None:
        shape = self.graph.input[0].type.tensor_type.shape
        del shape.dim[self.draw(st.integers(0, 3)) :]

    def change_output(self) -> None:
        self.graph.output[0].name = self.name()

    def change_opset(self) -> None:
        self.model.opset_import[0].version = self.draw(integers)


WAYS = [name for name in vars(Breaker) if name not in {"node", "name", "initializer"} and name[0] != "_"]


@settings(quiet, max_examples=300)
@given(st.data())
def test_a_broken_model_is_refused_or_still_runs(data: st.DataObject) -> None:
    model = onnx.load_from_string(BASE)
    breaker = Breaker(data.draw, model)
    for way in data.draw(st.lists(st.sampled_from(WAYS), min_size=1, max_size=4)):
        assume(model.graph.node and model.graph.initializer)
        getattr(breaker, way)()
    attempt(model)


@settings(quiet, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_flipped_bytes_are_refused_or_still_run(changes: list[tuple[int, int]]) -> None:
    content = bytearray(BASE)
    for at, value in changes:
        content[at] = value
    model = onnx.ModelProto()
    try:
        model.ParseFromString(bytes(content))
    except Exception:  # noqa: BLE001 - what protobuf makes of broken bytes is not lowering's business
        assume(False)
    attempt(model)


@settings(quiet, max_examples=150)
@given(small_networks(), st.integers(1, 3))
def test_a_random_network_answers_what_onnxruntime_answers(model: onnx.ModelProto, batch: int) -> None:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    images = normal(batch, *(dim.dim_value for dim in dims[1:]))
    expected = answer(model, images)
    got = run(lower(model), images)
    assert got.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(got / scale, expected / scale, atol=2e-5)
