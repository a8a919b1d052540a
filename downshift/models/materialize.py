"""One sub-net of an artifact as plain ONNX: what people export, and what every engine is held to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import onnx

from downshift.models import plain_onnx
from downshift.models.portability import make_portable

if TYPE_CHECKING:
    from downshift.models.artifact import Artifact
    from downshift.models.plain_onnx import Array


def materialize(artifact: Artifact, name: str) -> onnx.ModelProto:
    """The sub-net `name`: masks applied, its own BatchNorm in place, nothing else of the supernet inside.

    It has the lowest opset and IR version that express it, and no inferred shapes that could go stale. Small
    metadata say which sub-net of which network it is and how its input is normalised. The densest sub-net
    computes bitwise what the artifact's own file does. Raises `UnknownName`.
    """
    manifest = artifact.manifest
    index = manifest.index(name)
    tensors: dict[str, Array] = {weight: shared.masked(index) for weight, shared in artifact.weights.items()}
    for norm, stack in zip(manifest.norms, artifact.norms, strict=True):
        tensors |= zip(norm.initializers, stack[index], strict=True)
    model = onnx.ModelProto()
    model.CopyFrom(artifact.model)
    make_portable(model)
    for proto in model.graph.initializer:
        if proto.name in tensors:
            proto.CopyFrom(plain_onnx.tensor(proto.name, tensors[proto.name]))
    subnet, image = manifest.subnet(name), manifest.input
    about: dict[str, object] = {
        "network": manifest.network,
        "subnet": subnet.name,
        "sparsity": subnet.sparsity,
        "mean": image.mean,
        "std": image.std,
        "artifact_sha256": manifest.sha256,
    }
    for key, value in about.items():
        text = value if isinstance(value, str) else json.dumps(value)
        model.metadata_props.add(key=f"downshift.{key}", value=text)
    return model
