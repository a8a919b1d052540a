"""A model carries the oldest versions that express it, and computes what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from downshift.models.artifact import pack, unpack
from downshift.models.errors import ArtifactError
from downshift.models.materialize import materialize
from downshift.models.portability import OLDEST, lowest_opset, make_portable
from tests.models.tiny_artifact import CHANNELS, SIDE, tiny_artifact

if TYPE_CHECKING:
    from numpy.typing import NDArray


def model_of(*operators: str, opset: int, ir: int = 10) -> onnx.ModelProto:
    """A chain of one-input operators."""
    nodes = [helper.make_node(op, [f"t{i}"], [f"t{i + 1}"]) for i, op in enumerate(operators)]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("t0", f"t{len(nodes)}")
    ]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


@pytest.mark.parametrize(
    ("operators", "opset", "lowest"),
    [
        (("Relu",), 20, 14),
        (("Relu", "HardSwish"), 20, 14),
        (("Sigmoid",), 20, OLDEST),
        (("Relu", "Gelu"), 20, 20),
        (("HardSwish",), 21, 14),
        (("HardSwish",), 22, 22),
        (("Relu",), 9, 9),
    ],
)
def test_the_lowest_opset_is_where_the_youngest_definition_begins(
    operators: tuple[str, ...], opset: int, lowest: int
) -> None:
    assert lowest_opset(model_of(*operators, opset=opset)) == lowest


@pytest.mark.parametrize(("operator", "ir"), [("Sigmoid", 7), ("Relu", 7), ("Gelu", 9)])
def test_the_ir_version_is_the_lowest_that_the_opset_asks_for(operator: str, ir: int) -> None:
    model = model_of(operator, opset=20)
    make_portable(model)
    assert model.ir_version == ir
    onnx.checker.check_model(model, full_check=True)


def test_an_older_ir_version_is_never_raised() -> None:
    model = model_of("Gelu", opset=20, ir=4)
    make_portable(model)
    assert model.ir_version == 4


def test_an_operator_that_the_opset_does_not_have_is_named() -> None:
    with pytest.raises(ArtifactError, match="node 0 'Gelu': is no operator of opset 13"):
        lowest_opset(model_of("Gelu", opset=13))


def as_written_before() -> bytes:
    """An artifact that lists stale shapes of its initializers, in IR version 10."""
    made = unpack(pack(tiny_artifact()))
    made.model.ir_version = 10
    made.model.opset_import[0].version = 18
    for proto in made.model.graph.initializer:
        stale = helper.make_tensor_value_info(
            proto.name, TensorProto.FLOAT, [size + 1 for size in proto.dims]
        )
        made.model.graph.value_info.append(stale)
    return pack(made)


def logits(model: onnx.ModelProto) -> NDArray[np.float32]:
    images = np.random.default_rng(1).standard_normal((2, CHANNELS, SIDE, SIDE)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": images})[0])


def test_sub_nets_of_artifacts_written_with_newer_versions_are_exported_portably_too() -> None:
    old, new = unpack(as_written_before()), tiny_artifact()
    assert (old.model.ir_version, len(old.model.graph.value_info)) == (10, 7)
    for name in old.manifest.names:
        model = materialize(old, name)
        assert (model.ir_version, model.opset_import[0].version) == (8, 15)
        assert not model.graph.value_info
        onnx.checker.check_model(model, full_check=True)
        assert logits(model).tobytes() == logits(materialize(new, name)).tobytes()


def test_a_new_artifact_is_itself_portable() -> None:
    model = onnx.ModelProto.FromString(pack(tiny_artifact()))
    assert (model.ir_version, model.opset_import[0].version) == (8, 15)
    assert not model.graph.value_info


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("value_ints", [2, 3]),
        ("value_int", 3),
        ("value_floats", [0.5, 2.0]),
        ("value_float", 0.5),
        ("value", onnx.numpy_helper.from_array(np.array([7], np.int64))),
    ],
)
def test_constant_nodes_become_initializers_of_their_name(attribute: str, value: object) -> None:
    model = model_of("Relu", opset=18)
    constant = helper.make_node("Constant", [], ["c"], **{attribute: value})
    model.graph.node.append(constant)
    make_portable(model)
    (made,) = model.graph.initializer
    expected = onnx.numpy_helper.to_array(value) if attribute == "value" else np.array(value)
    assert made.name == "c"
    assert onnx.numpy_helper.to_array(made).tolist() == expected.tolist()
    assert [node.op_type for node in model.graph.node] == ["Relu"]


def test_a_constant_that_is_the_output_stays_a_node() -> None:
    model = model_of("Relu", opset=18)
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value_ints=[1]))
    model.graph.output.add(name="c")
    make_portable(model)
    assert [node.op_type for node in model.graph.node] == ["Relu", "Constant"]
