"""Portability: the oldest ONNX versions and the plainest form that express a graph.

Runtimes refuse an IR version or opset younger than themselves (onnxruntime 1.16: IR 9, opset 19), and tools
fail on forms that few exporters write.
"""

from __future__ import annotations

import numpy as np
import onnx

from downshift.models.errors import ArtifactError

OLDEST = 13  # the first opset that quantises per channel
LISTS = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
"""Attributes of a Constant that hold its value as numbers instead of a tensor, and their type."""


def make_portable(model: onnx.ModelProto) -> None:
    """Bring the model, in place, to its lowest opset and IR version, without changing what it computes.

    Inferred shapes (`value_info`) are dropped: every tool infers them anew, and fails on stale ones.
    Constant nodes become initializers: onnxruntime's symbolic shape inference reads no other list of numbers.
    """
    opset = lowest_opset(model)
    del model.opset_import[:]
    model.opset_import.add(domain="", version=opset)
    model.ir_version = min(model.ir_version, onnx.helper.find_min_ir_version_for(model.opset_import))
    del model.graph.value_info[:]
    _lift_constants(model.graph)


def lowest_opset(model: onnx.ModelProto) -> int:
    """The lowest opset, at least `OLDEST`, in which every node means what it means in the model's own.

    An operator's definition holds from the opset that introduced it until the next one that changes it: the
    answer is the youngest of these starts. A model older than `OLDEST` keeps its opset. Raises
    `ArtifactError` for an operator that the model's opset does not have.
    """
    present = max(
        (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=OLDEST
    )
    starts = [OLDEST]
    for index, node in enumerate(model.graph.node):
        try:
            starts.append(onnx.defs.get_schema(node.op_type, present, "").since_version)
        except onnx.defs.SchemaError as error:
            raise ArtifactError(
                f"node {index} {node.op_type!a}", f"is no operator of opset {present}; export it again"
            ) from error
    return min(max(starts), present)


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Replace Constant nodes that hold numbers by initializers of the same name."""
    kept = []
    for node in graph.node:
        value = _constant(node) if node.op_type == "Constant" and node.output[0] not in _ends(graph) else None
        if value is None:
            kept.append(node)
        else:
            graph.initializer.append(value)
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The value of a Constant node as a tensor named like its output; None for texts and sparse tensors."""
    (attribute,) = node.attribute
    if attribute.name in LISTS:
        array = np.array(onnx.helper.get_attribute_value(attribute), LISTS[attribute.name])
    elif attribute.name == "value":
        array = onnx.numpy_helper.to_array(attribute.t)
    else:
        return None
    return onnx.numpy_helper.from_array(array, node.output[0])


def _ends(graph: onnx.GraphProto) -> set[str]:
    return {value.name for value in graph.output}
