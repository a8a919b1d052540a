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
