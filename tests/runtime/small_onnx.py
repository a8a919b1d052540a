"""ONNX models of a few nodes, written by hand, and what onnxruntime answers for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


def small_model(
    nodes: Sequence[onnx.NodeProto],
    image: tuple[int, int, int],
    constants: Mapping[str, Any] | None = None,
    *,
    batch: int | str = "n",
    opset: int = 20,
) -> onnx.ModelProto:
    """A model that reads "x" [N, *image] and answers "y", with `constants` as initializers."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *image])],
        [onnx.ValueInfoProto(name="y", type=helper.make_tensor_type_proto(TensorProto.FLOAT, None))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def answer(model: onnx.ModelProto, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """What onnxruntime computes for `images`, without its own fusions: some refuse legal padding."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    output: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: images})[0]
    return output


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Reproducible standard normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


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
